"""Slots of requests at a time, as the gateway keeps them while it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from gateway.domain import slots as slots_module
from gateway.domain.admission import Admission
from gateway.domain.errors import OverLimit
from gateway.domain.slots import Holding
from shared.clock import system_clock
from shared.ids import new_id
from shared.limits import leases
from shared.limits.limiter import Decision, Limiter, Purse
from shared.limits.plans import PlanBook, parse_plans
from shared.principal import Principal
from shared.scripts import ScriptConnection
from shared.tasks import end_task
from tests.support.poll import until

PLANS = parse_plans("""
anonymous_ip: {quota: 50}
tiers:
  few: {limits: {concurrency: 1}, entitlements: {indicators: all, batch_series: 1}}
  large: {limits: {day: 1000000, concurrency: 300}, entitlements: {indicators: all, batch_series: 1}}
""")


class Plans:
    book: PlanBook = PLANS


class SlowToRenew(Limiter):
    """Whose renewal is on its way until it is `let` through."""

    def __init__(self, scripts: ScriptConnection) -> None:
        super().__init__(scripts)
        self.renewing, self.let, self.renewed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._is_new = True

    async def take_slot(self, purse: Purse, holder: str) -> bool:
        if self._is_new:
            self._is_new = False
            return await super().take_slot(purse, holder)
        self.renewing.set()
        await self.let.wait()
        taken = await super().take_slot(purse, holder)
        self.renewed.set()
        return taken


async def test_a_slot_that_is_given_back_while_it_is_renewed_stays_given_back(
    redis: Redis, scripts: ScriptConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "RENEW_S", 0.01)
    limiter = SlowToRenew(scripts)
    admission = Admission(limiter, Plans(), system_clock, new_id)
    principal = Principal(kind="user", user_id=str(new_id()), tenant_id=str(new_id()), tier="few")
    keeping = asyncio.create_task(admission.slots.keep())
    async with admission.slot(principal, admission.plan_of(principal)):
        await limiter.renewing.wait()
    limiter.let.set()
    await limiter.renewed.wait()

    async def is_free() -> bool:
        return await redis.zcard(f"limits:slots:user:{principal.user_id}") == 0

    await until(is_free, what="the slot, which its renewal has taken again")
    await end_task(keeping)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease and a kept slot last for a second: on a busy machine too few requests for either fit into a tenth of one."""
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(slots_module, "SPARE_S", 1.0)


class Counting(Limiter):
    """`taken` are the slots that the store was asked for, `spent` the requests."""

    taken = spent = 0

    async def take_slot(self, purse: Purse, holder: str) -> bool:
        self.taken += 1
        return await super().take_slot(purse, holder)

    async def spend(self, purse: Purse, day_cost: int = 1, *, holder: str = "") -> Decision:
        self.spent += 1
        return await super().spend(purse, day_cost, holder=holder)


class Leased:
    """A caller of the tier `large`, on a gateway that leases."""

    def __init__(self, redis: Redis, limiter: Counting) -> None:
        self._redis = redis
        self.limiter = limiter
        self.admission = Admission(limiter, Plans(), system_clock, new_id)
        self.principal = Principal(kind="user", user_id=str(new_id()), tenant_id=str(new_id()), tier="large")

    def asks(self) -> Holding[Decision]:
        return self.admission.forwarding(self.principal, self.admission.plan_of(self.principal), client_ip="")

    async def in_store(self) -> int:
        held: int = await self._redis.zcard(f"limits:slots:user:{self.principal.user_id}")
        return held

    async def asks_often(self) -> None:
        """Until a request of his takes nothing from the store."""

        async def is_leased() -> bool:
            for _ in range(50):
                async with self.asks():
                    pass
            before = self.limiter.taken, self.limiter.spent
            async with self.asks():
                return before == (self.limiter.taken, self.limiter.spent)

        await until(is_leased, what="a lease, and a slot that is kept")


@pytest.fixture
async def leased(redis: Redis, scripts: ScriptConnection, unhurried: None) -> AsyncIterator[Leased]:
    async with Counting(scripts) as limiter:
        yield Leased(redis, limiter)


async def test_a_slot_of_who_is_leased_is_his_next_requests(leased: Leased) -> None:
    await leased.asks_often()
    before = leased.limiter.taken
    async with leased.asks(), leased.asks(), leased.asks(), leased.asks():
        assert leased.limiter.taken > before, "one that is in use is nobody else's"
        held = await leased.in_store()
    assert held == 4


async def test_no_more_than_a_hundredth_of_them_are_kept(leased: Leased) -> None:
    await leased.asks_often()
    async with AsyncExitStack() as many:
        for _ in range(20):
            await many.enter_async_context(leased.asks())

    async def few() -> bool:
        return await leased.in_store() <= 3

    await until(few, what="all but three to be given back")


async def test_slots_that_nobody_needs_are_given_back(leased: Leased) -> None:
    await leased.asks_often()
    assert await leased.in_store() > 0

    async def none() -> bool:
        return await leased.in_store() == 0

    await until(none, what="the slots that were kept")


async def test_at_its_end_a_gateway_gives_back_what_it_has_kept(leased: Leased) -> None:
    await leased.asks_often()
    leased.admission.slots.close()

    async def none() -> bool:
        return await leased.in_store() == 0

    await until(none, what="the slots that were kept")


async def test_who_is_refused_has_given_back_his_slot(leased: Leased, redis: Redis) -> None:
    await leased.asks_often()
    day = f"limits:day:user:{leased.principal.user_id}"
    await redis.hset(day, "used", 1_000_000)

    async def refused() -> bool:
        try:
            for _ in range(50):
                async with leased.asks():
                    pass
        except OverLimit:
            return True
        return False

    await until(refused, what="the end of his lease")

    async def none() -> bool:
        return await leased.in_store() == 0

    await until(none, what="his slots")
