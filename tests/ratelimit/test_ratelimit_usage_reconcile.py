"""What Postgres counted beside what Redis counted: a planted difference is found, and what is only under way is not one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from kalpi_local.servers import Valkey
from ratelimit_service.adapters.counters import RedisCounters, ToldGateways
from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.adapters.usage_units import PostgresUnits
from ratelimit_service.cli.usage import app
from ratelimit_service.domain.model import Origin
from ratelimit_service.domain.reconciling import Counted, reconcile
from ratelimit_service.domain.refilling import Refill
from ratelimit_service.domain.resetting import Resetting
from ratelimit_service.domain.versions import Recorder
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from shared.limits.keys import members_of
from shared.limits.limiter import Limiter, policies_of
from shared.limits.plans import Limits, Override, PlanBook, parse_plans
from shared.scripts import ScriptConnection
from shared.store import open_store
from tests.ratelimit.usage_world import Asked, UsageStore, tenant_id, usage_store, user_id

PLANS = parse_plans(FilePlans(None).text())
NOW = system_clock().astimezone(UTC)
SUBJECTS = st.sampled_from([f"user:{number}" for number in range(6)])
UNITS = st.dictionaries(SUBJECTS, st.integers(1, 100))


@pytest.fixture
async def valkey(tmp_path: object) -> AsyncIterator[Valkey]:
    """A Redis that holds what this test spent and nothing else."""
    valkey = Valkey(tmp_path / "valkey", "secret", durable=False)  # type: ignore[operator]
    await valkey.start()
    yield valkey
    await valkey.stop()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    async with open_store(valkey.url) as redis:
        await redis.set(PLANS_KEY, PLANS.model_dump_json())
        yield redis


@pytest.fixture
async def scripts(valkey: Valkey) -> AsyncIterator[ScriptConnection]:
    async with ScriptConnection(valkey.url) as connection:
        yield connection


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[UsageStore]:
    async with usage_store(database_url, NOW) as store:
        yield store


async def compare(store_url: str, redis_url: str, *more: str) -> Result:
    """In a thread: the command has an event loop of its own."""
    environ = {"DATABASE_URL": store_url, "REDIS_URL": redis_url, "NATS_URL": ""}
    return await asyncio.to_thread(CliRunner().invoke, app, ["reconcile", *more], env=environ)


async def spend(scripts: ScriptConnection, asked: list[Asked]) -> None:
    """As a gateway does."""
    limiter = Limiter(scripts)
    for one in asked:
        assert (await limiter.decide(policies_of(PLANS.tiers["pro"].limits, one.subject, day_cost=one.units))).admitted


ASKED = [Asked(at=NOW, user=1, units=2)] * 3 + [Asked(at=NOW, user=2)] * 4


async def test_what_was_counted_alike_agrees(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, database_url: str, valkey: Valkey
) -> None:
    await spend(scripts, ASKED)
    await store.take([*ASKED, Asked(at=NOW, user=3, tier="premium")])
    told = await compare(database_url, valkey.url)
    assert told.exit_code == 0, told.output
    assert f"{NOW:%Y-%m-%d}: 2 subjects agree, 0 differ (over by 0 units, under by 0), 1 without a quota" in told.output


async def test_a_planted_difference_is_found_whichever_side_it_is_on(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, database_url: str, valkey: Valkey
) -> None:
    await spend(scripts, ASKED)
    await store.take(ASKED, lost=(5, 9))
    key = f"limits:day:{ASKED[0].subject}"
    await redis.hincrby(key, "used", 7)
    await redis.delete(f"limits:day:{ASKED[-1].subject}")
    told = await compare(database_url, valkey.url)
    assert told.exit_code == 1
    assert told.output.splitlines()[:2] == [
        f"{ASKED[0].subject} over by 7: postgres=6 redis=13",
        f"{ASKED[-1].subject} under by 4: postgres=4 redis=none",
    ]
    assert "0 subjects agree, 2 differ (over by 7 units, under by 4)" in told.output
    assert "5 events of 9 units were lost" in told.output
    await redis.zadd("limits:leases", {f"gateway/1 {(NOW.date() - date(1970, 1, 1)).days} 7 {key}": 1})
    told = await compare(database_url, valkey.url, "--most", "0")
    assert "1 subjects agree, 1 differ" in told.output, "what is leased may not be spent yet"


async def test_each_day_is_compared_by_itself(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, database_url: str, valkey: Valkey
) -> None:
    yesterday = NOW - timedelta(days=1)
    await spend(scripts, ASKED)
    await store.take([*ASKED, Asked(at=yesterday, user=4)])
    assert (await compare(database_url, valkey.url)).exit_code == 0
    told = await compare(database_url, valkey.url, "--day", f"{yesterday:%Y-%m-%d}")
    assert (told.exit_code, "under by 1: postgres=1 redis=none" in told.output) == (1, True)


async def test_what_cannot_be_read_is_no_agreement(store: UsageStore, database_url: str, valkey: Valkey) -> None:
    told = await compare(database_url, valkey.url)
    assert (told.exit_code, "there are no plans in Redis" in told.output) == (2, True)
    await valkey.stop()
    assert (await compare(database_url, valkey.url)).exit_code == 2


@given(UNITS, UNITS, UNITS)
def test_every_subject_is_told_of_once_and_the_sums_are_those_of_the_differences(
    counted: Mapping[str, int], counters: Mapping[str, int], leased: Mapping[str, int]
) -> None:
    report = reconcile({subject: Counted(units, True) for subject, units in counted.items()}, counters, leased)
    assert report.equal + len(report.differences) == len(counted.keys() | counters.keys())
    unexplained = {subject: counters.get(subject, 0) - units for subject, units in counted.items()}
    for one in report.differences:
        assert not (one.counter is not None and 0 <= one.by <= one.leased)
        assert one.by == unexplained.get(one.subject, counters.get(one.subject, 0))
    assert report.over - report.under == sum(one.by for one in report.differences)


# ----- a store that was emptied


class InForceNow:
    def __init__(self, book: PlanBook) -> None:
        self.book = book


def refill_of(store: UsageStore, redis: Redis, raising: Limiter, book: PlanBook = PLANS) -> Refill:
    return Refill(PostgresUnits(store.database.connection), RedisCounters(redis), raising, InForceNow(book), lambda: NOW)


async def test_a_tenants_total_is_raised_as_well_so_that_no_unit_that_was_counted_is_admitted_twice(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, database_url: str, valkey: Valkey
) -> None:
    """Members 1 and 2 have spent ten of the fourteen that their tenant has for all of them."""
    tenant, other = str(tenant_id(1)), str(tenant_id(30))
    of_tenant = Limits.model_validate({"day": 500, "tenant": 14})
    book = PLANS.model_copy(update={"overrides": {tenant: Override(limits=of_tenant)}})
    await redis.set(PLANS_KEY, book.model_dump_json())
    await store.take([*ASKED, Asked(at=NOW, user=30)])
    await redis.set("limits:epoch", "emptied")
    refill = refill_of(store, redis, Limiter(scripts), book)
    assert await refill.look() == 10 + 1 + 10
    assert await RedisCounters(redis).used(NOW.date(), [members_of(tenant), members_of(other)]) == {members_of(tenant): 10}
    assert (await compare(database_url, valkey.url)).exit_code == 0
    asked = [policies_of(of_tenant, ASKED[at].subject, tenant=tenant) for at in (0, -1, 0, -1, 0)]
    assert [(await Limiter(scripts).decide(policies)).admitted for policies in asked] == [*[True] * 4, False]


class Interrupted(Limiter):
    """`away` for so many calls first."""

    away = 0

    async def raise_to(self, subject: str, day: date, used: int) -> int:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        return await super().raise_to(subject, day, used)


async def test_an_emptied_store_is_raised_to_what_was_counted_once_for_each_time_it_was_emptied(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, database_url: str, valkey: Valkey
) -> None:
    await store.take([*ASKED, Asked(at=NOW - timedelta(days=1), user=5)])
    raising = Interrupted(scripts)
    refill = refill_of(store, redis, raising)
    await redis.set("limits:epoch", "first")
    assert await refill.look() == 10
    assert (await compare(database_url, valkey.url)).exit_code == 0, "and yesterday's is not today's"
    await redis.hincrby(f"limits:day:{ASKED[0].subject}", "used", 5)
    assert await refill.look() == 0
    await redis.flushall()
    await redis.set(PLANS_KEY, PLANS.model_dump_json())
    await redis.set("limits:epoch", "second")
    await redis.hset(f"limits:day:{ASKED[0].subject}", mapping={"day": (NOW.date() - date(1970, 1, 1)).days, "used": 8})
    raising.away = 2
    with pytest.raises(Unavailable):
        await refill.look()
    assert await refill.look() == 4, "what a gateway had heard of is more, and stays"
    assert await RedisCounters(redis).used_by_all(NOW.date()) == {ASKED[0].subject: 8, ASKED[-1].subject: 4}


async def test_what_was_set_back_is_neither_a_difference_nor_given_again(
    store: UsageStore, redis: Redis, scripts: ScriptConnection, bus: EventBus, database_url: str, valkey: Valkey
) -> None:
    await spend(scripts, ASKED)
    await store.take(ASKED[:5])
    await PublishedPlans(redis, bus).declare()
    resetting = Resetting(RedisCounters(redis), ToldGateways(bus), store.database, Recorder(lambda: NOW, new_id))
    for user in (1, 2):
        await resetting.reset("users", str(user_id(user)), "our mistake", Origin("an administrator", "r", None))
    await store.take(ASKED[5:])  # what was still on its way
    told = await compare(database_url, valkey.url)
    assert told.exit_code == 0, told.output
    refill = refill_of(store, redis, Limiter(scripts))
    assert await refill.look() == 0
