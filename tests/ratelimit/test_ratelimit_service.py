"""ratelimit-service: plans come into force whole or not at all, and use can be read."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from kalpi_local.servers import Valkey
from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.app import NAME, create_app
from ratelimit_service.domain.ports import StoreState
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY, PlanWatcher
from shared.limits.limiter import Limiter, policies_of
from shared.limits.plans import PlanBook, PlanFileError, parse_plans
from shared.scripts import ScriptConnection
from shared.settings import EX_CONFIG
from shared.store import open_store
from tests.ratelimit.conftest import SMALL, MakeSettings, OwnFile, day_of, enforced, gateways, parts_of, plans_with
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import Vouched, headers_for, user

SHIPPED = parse_plans(FilePlans(None).text())


def test_the_shipped_plans_are_those_of_the_contract() -> None:
    table = {
        name: (
            plan.limits.burst.quota if plan.limits.burst else None,
            plan.limits.day.quota if plan.limits.day else None,
            plan.limits.concurrency.quota if plan.limits.concurrency else None,
            plan.entitlements.history_days,
            plan.entitlements.batch_series,
            len(plan.entitlements.features),
        )
        for name, plan in SHIPPED.tiers.items()
    }
    assert table == {
        "free": (5, 50, 2, 90, 5, 0),
        "pro": (25, 500, 10, 365, 50, 0),
        "premium": (200, None, 64, None, 1000, 4),
        "enterprise": (100_000, 1_000_000_000, 4096, None, 50_000, 4),
    }
    assert SHIPPED.anonymous_ip.quota == 50
    assert [SHIPPED.first_tier_with(name) for name in ("sma", "rsi", "bbands")] == ["free", "pro", "premium"]
    assert [SHIPPED.first_tier_reaching(days) for days in (90, 91, 366)] == ["free", "pro", "premium"]
    assert PlanBook.model_validate_json(SHIPPED.model_dump_json()) == SHIPPED


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("day: 10", "day: 0"), "tiers.free.limits.day"),
        (("day: 10", "dya: 10"), "tiers.free.limits.dya"),
        (("day: 10", "burst: {quota: -1}"), "tiers.free.limits.burst.quota"),
        (("concurrency: 2", "concurrency: many"), "tiers.free.limits.concurrency"),
        (("batch_series: 5", "batch_series: 0"), "tiers.free.entitlements.batch_series"),
        (("[sma]", "sma"), "tiers.free.entitlements.indicators"),
        (("batch_series: 5", "batch_series: 5, features: [magic]"), "tiers.free.entitlements.features"),
        (("history_days: 90", "history_days: -1"), "tiers.free.entitlements.history_days"),
        (("history_days: 90", "history_days: 1000000"), "tiers.free.entitlements.history_days"),
        (("free:", "free tier:"), "not a tier name"),
        (("anonymous_ip: {quota: 50}", ""), "anonymous_ip"),
        (("tiers:", "tiers: [}"), "not YAML"),
        (("tiers:", "more: 2001-99-99\ntiers:"), "not YAML"),
        (("tiers:", "anonymous_ip: {quota: 60}\ntiers:"), "anonymous_ip is there twice"),
        (("tiers:", "overrides: {}\ntiers:"), "overrides"),
        ((SMALL, ""), "plans"),
    ],
)
def test_a_bad_rule_is_named(change: tuple[str, str], rule: str) -> None:
    with pytest.raises(PlanFileError, match=r".") as refused:
        parse_plans(SMALL.replace(*change))
    assert any(rule in fault for fault in refused.value.faults), refused.value.faults


def test_every_bad_rule_is_named_at_once() -> None:
    with pytest.raises(PlanFileError) as refused:
        parse_plans(SMALL.replace("day: 10", "day: 0").replace("batch_series: 5", "batch_series: 0"))
    assert len(refused.value.faults) == 2


def test_the_service_does_not_start_on_an_unfit_file(
    plans: OwnFile, settings_of: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    plans.says(plans_with(0))
    missing = settings_of(plans).model_copy(update={"plans_path": plans.path.with_name("missing.yaml")})
    for settings in (settings_of(plans), missing):
        with pytest.raises(SystemExit) as ended:
            create_app(settings)
        assert ended.value.code == EX_CONFIG
    assert "tiers.free.limits.day" in capsys.readouterr().err


async def test_an_unfit_file_leaves_the_plans_in_force(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    async with parts_of(settings_of(plans), redis, bus) as parts, gateways(redis, bus) as both:
        for text, day, version in (
            (SMALL, 10, 1),
            (plans_with(0), 10, 1),
            ("nonsense", 10, 1),
            ("[" * 30_000, 10, 1),
            (plans_with(20), 20, 2),
            (f"# a comment\n{plans_with(20)}", 20, 2),
        ):
            plans.says(text)
            await parts.control.look()
            await enforced(both, lambda book, day=day: day_of(book) == day)  # type: ignore[misc]
            newest = await parts.publishing.newest()
            assert newest is not None
            assert newest.number == version
        plans.path.unlink()
        await parts.control.look()
        assert all(day_of(watcher.book) == 20 for watcher in both)


async def test_use_is_read_and_looking_costs_nothing(redis: Redis, redis_url: str, settings_of: MakeSettings) -> None:
    caller = user("pro")
    subject = f"user:{caller.user_id}"
    async with (
        running(create_app(settings_of()), Vouched(caller, NAME)) as client,
        ScriptConnection(redis_url) as scripts,
    ):
        limiter = Limiter(scripts)
        assert await redis.exists(PLANS_KEY)
        for _ in range(3):
            await limiter.decide(policies_of(SHIPPED.tiers["pro"].limits, subject))
        for document in [(await client.get("/api/v1/usage")).json() for _ in range(2)]:
            day = next(policy for policy in document["policies"] if policy["name"] == "day")
            assert (day["quota"], day["used"], day["remaining"], day["window_s"]) == (500, 3, 497, 86_400)
            assert 0 < day["reset_s"] <= 86_400
            assert (document["tier"], document["unlimited"], document["concurrency"]) == ("pro", [], 10)
        premium = headers_for(user("premium"), NAME)
        assert (await client.get("/api/v1/usage", headers=premium)).json()["unlimited"] == ["day"]
        nobody = headers_for(user("nonsense"), NAME)
        assert (await client.get("/api/v1/usage", headers=nobody)).status_code == 403


async def test_use_is_that_of_whom_it_is_shared_with(redis: Redis, redis_url: str, settings_of: MakeSettings) -> None:
    limits = SHIPPED.tiers["pro"].limits
    async with running(create_app(settings_of())) as client, ScriptConnection(redis_url) as scripts:
        limiter = Limiter(scripts)
        for quota, members, subject, shown in (
            ("shared", None, "tenant:{0.tenant_id}", ("tenant", 500, 1, 10)),
            ("split", 3, "user:{0.user_id}", ("user", 166, 1, 3)),
            ("split", 1000, "user:{0.user_id}", ("user", 1, 1, 1)),
        ):
            caller = user("pro").model_copy(update={"quota": quota, "members": members})
            await limiter.decide(policies_of(limits, subject.format(caller)))
            document = (await client.get("/api/v1/usage", headers=headers_for(caller, NAME))).json()
            day = next(policy for policy in document["policies"] if policy["name"] == "day")
            assert (document["shared_by"], day["quota"], day["used"], document["concurrency"]) == shown


async def test_a_watcher_that_could_not_read_the_plans_reads_them_once_the_store_is_back(nats_url: str, tmp_path: Path) -> None:
    """Nobody tells it of them again: the store still has the book, so ratelimit-service has nothing to publish."""
    valkey = Valkey(tmp_path / "valkey", "secret", durable=True)
    await valkey.start()
    async with open_store(valkey.url) as redis, EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        await PublishedPlans(redis, bus).declare()
        await redis.set(PLANS_KEY, SHIPPED.model_dump_json())
        await valkey.stop()
        watcher = PlanWatcher(redis)
        await watcher.start(bus)
        with pytest.raises(Unavailable):
            await watcher.check()
        await valkey.start()

        async def knows() -> bool:
            try:
                return watcher.book == SHIPPED
            except Unavailable:
                return False

        await until(knows, what="the plans")
    await valkey.stop()


async def test_a_book_that_cannot_be_understood_leaves_the_one_in_force(redis: Redis, bus: EventBus) -> None:
    published = PublishedPlans(redis, bus)
    await published.declare()
    assert await published.write(SHIPPED, "1", over=None)
    watcher, other = PlanWatcher(redis), PlanWatcher(redis)
    await watcher.start(bus)
    await redis.set(PLANS_KEY, '{"of": "another release"}')
    await other.start(bus)
    assert watcher.book == SHIPPED
    with pytest.raises(Unavailable):
        await other.check()


async def test_a_book_is_written_over_the_one_that_its_writer_has_seen_and_over_no_other(redis: Redis, bus: EventBus) -> None:
    published = PublishedPlans(redis, bus)
    await published.declare()
    assert await published.write(SHIPPED, "1", over=None)
    assert not await published.write(SHIPPED, "2", over=None)
    assert not await published.write(SHIPPED, "2", over="0")
    assert await published.write(SHIPPED, "2", over="1")
    await published.tell("2")
    assert await published.state() == StoreState(written="2", told="2")
    await redis.delete(PLANS_KEY)
    assert (await published.state()).written is None
