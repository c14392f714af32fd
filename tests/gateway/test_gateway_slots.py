"""Slots of requests at a time, as the gateway keeps them while it answers."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.domain import admission as admission_module
from gateway.domain.admission import Admission
from shared.clock import system_clock
from shared.ids import new_id
from shared.limits.limiter import Limiter, Purse
from shared.limits.plans import PlanBook, parse_plans
from shared.principal import Principal
from shared.scripts import ScriptConnection
from shared.tasks import end_task
from tests.support.poll import until

PLANS = parse_plans("""
anonymous_ip: {quota: 50}
tiers:
  few: {limits: {concurrency: 1}, entitlements: {indicators: all, batch_series: 1}}
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
    monkeypatch.setattr(admission_module, "RENEW_SLOTS_S", 0.01)
    limiter = SlowToRenew(scripts)
    admission = Admission(limiter, Plans(), system_clock, new_id)
    principal = Principal(kind="user", user_id=str(new_id()), tenant_id=str(new_id()), tier="few")
    keeping = asyncio.create_task(admission.keep_slots())
    async with admission.slot(principal, admission.plan_of(principal)):
        await limiter.renewing.wait()
    limiter.let.set()
    await limiter.renewed.wait()

    async def is_free() -> bool:
        return await redis.zcard(f"limits:slots:user:{principal.user_id}") == 0

    await until(is_free, what="the slot, which its renewal has taken again")
    await end_task(keeping)
