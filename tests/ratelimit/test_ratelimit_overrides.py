"""Tenants that have other limits and entitlements than their tier's: given, told of, taken back and kept account of."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from ratelimit_service.app import NAME
from ratelimit_service.domain.model import OURSELVES
from ratelimit_service.domain.overriding import Overriding
from ratelimit_service.domain.sweeping import Sweeper
from ratelimit_service.domain.versions import Recorder
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.plans import MOST_OVERRIDES, Override
from shared.limits.sharing import plan_for
from tests.ratelimit.conftest import (
    Administrator,
    MakeSettings,
    OwnFile,
    enforced,
    gateways,
    parts_of,
    plans_with,
    serving,
)
from tests.support.poll import until
from tests.support.principals import headers_for, user

REASON = "a trial month"


def at(moment: datetime) -> str:
    return moment.isoformat()


async def give(admin: Administrator, tenant: UUID | str, **rules: Any) -> Any:
    return await admin.told("PUT", f"limits/tenants/{tenant}", {"reason": REASON, **rules})


async def states(admin: Administrator, **query: Any) -> Mapping[str, str]:
    page = await admin.told("GET", "limits/tenants", **query)
    return {one["tenant_id"]: one["state"] for one in page["data"]}


async def test_it_is_on_every_gateway_at_once_and_gone_again(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    caller = user("free")
    tenant = caller.tenant_id
    async with serving(settings_of(plans, look_s=3600)) as admin, gateways(redis, bus) as both:
        given = await give(admin, tenant, limits={"concurrency": 9, "day": None}, entitlements={"indicators": "all"})
        assert (given["state"], given["reason"], given["actor"]) == ("active", REASON, admin.principal.user_id)
        assert (given["limits"], given["entitlements"]) == ({"concurrency": 9, "day": None}, {"indicators": "all"})
        await enforced(both, lambda book: tenant in book.overrides)
        for watcher in both:
            plan = plan_for(caller, watcher.book, system_clock())
            assert plan is not None
            assert (plan.limits.day, plan.entitlements.indicators, plan.entitlements.batch_series) == (None, "all", 5)

        async def here_too() -> bool:
            usage = (await admin.client.get("/api/v1/usage", headers=headers_for(caller, NAME))).json()
            return (usage["unlimited"], usage["concurrency"]) == (["burst", "day"], 9)

        await until(here_too, what="the override at the service itself")
        await admin.told("DELETE", f"limits/tenants/{tenant}", reason="over")
        await enforced(both, lambda book: not book.overrides)
        assert (await admin.ask("GET", f"limits/tenants/{tenant}")).status_code == 404
        assert (await admin.ask("DELETE", f"limits/tenants/{tenant}", reason="again")).status_code == 404


async def test_it_begins_and_ends_by_its_dates_without_another_word(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    caller, now = user("free"), system_clock()
    starts, ends = now + timedelta(days=1), now + timedelta(days=2)
    async with serving(settings_of(plans, look_s=3600)) as admin, gateways(redis, bus) as both:
        await give(admin, caller.tenant_id, starts_at=at(starts), ends_at=at(ends), entitlements={"batch_series": 9})
        await enforced(both, lambda book: caller.tenant_id in book.overrides)
    for watcher in both:
        for moment, series in ((now, 5), (starts, 9), (ends - timedelta(microseconds=1), 9), (ends, 5)):
            plan = plan_for(caller, watcher.book, moment)
            assert plan is not None
            assert plan.entitlements.batch_series == series


async def test_it_stays_over_whatever_plans_are_published(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    caller = user("free")
    async with serving(settings_of(plans)) as admin, gateways(redis, bus) as both:
        await give(admin, caller.tenant_id, entitlements={"batch_series": 9})
        await admin.publish(plans_with(20), replaces=1)
        await enforced(both, lambda book: "20" in book.tiers["free"].limits.model_dump_json())
        assert all(caller.tenant_id in watcher.book.overrides for watcher in both)


async def test_who_gave_what_and_why_is_kept(plans: OwnFile, settings_of: MakeSettings) -> None:
    tenant = str(new_id())
    async with serving(settings_of(plans)) as admin:
        await give(admin, tenant, limits={"day": 70})
        await give(admin, tenant, limits={"day": None})
        await admin.told("DELETE", f"limits/tenants/{tenant}", reason="over")
        changes = (await admin.told("GET", "limits/changes", noun="override", subject=tenant))["data"]
        assert [(one["event"], one["reason"]) for one in changes] == [("removed", "over"), ("set", REASON), ("set", REASON)]
        removed, second, first = changes
        assert (first["before"], removed["after"]) == (None, None)
        assert second["before"] == first["after"]
        assert removed["before"] == second["after"] == {"limits": {"day": None}}
        assert {one["actor"] for one in changes} == {admin.principal.user_id}
        assert (await admin.told("GET", "limits/changes", actor="nobody"))["data"] == []
        page = await admin.told("GET", "limits/changes", limit=2, subject=tenant)
        rest = await admin.told("GET", "limits/changes", limit=2, subject=tenant, cursor=page["next_cursor"])
        assert [*page["data"], *rest["data"]] == changes


async def test_they_are_listed_by_whether_they_are_in_force(plans: OwnFile, settings_of: MakeSettings) -> None:
    now = system_clock()
    soon, later = at(now + timedelta(hours=1)), at(now + timedelta(hours=2))
    active, scheduled, short = (str(new_id()) for _ in range(3))
    clock = Movable(now)
    async with serving(settings_of(plans), clock=clock) as admin:
        await give(admin, active, limits={"day": 70})
        await give(admin, scheduled, limits={"day": 70}, starts_at=later)
        await give(admin, short, limits={"day": 70}, ends_at=soon)
        assert await states(admin) == {active: "active", scheduled: "scheduled", short: "active"}
        assert await states(admin, state="scheduled") == {scheduled: "scheduled"}
        clock.now = now + timedelta(hours=3)
        assert await states(admin, state="ended") == {short: "ended"}
        assert await states(admin, state="active") == {active: "active", scheduled: "active"}
        first = await admin.told("GET", "limits/tenants", limit=2)
        rest = await admin.told("GET", "limits/tenants", limit=2, cursor=first["next_cursor"])
        assert [len(first["data"]), len(rest["data"]), rest["next_cursor"]] == [2, 1, None]


class Movable:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"limits": {}},
        {"limits": {"day": 0}},
        {"limits": {"dya": 7}},
        {"limits": {"day": 7}, "reason": ""},
        {"limits": {"day": 7}, "reason": "a trial\u202ehtnom"},
        {"limits": {"day": 7}, "until": "tomorrow"},
        {"limits": {"day": 7}, "ends_at": "2001-01-01T00:00:00Z"},
        {"limits": {"day": 7}, "ends_at": "2101-01-01T00:00:00"},
        {"limits": {"day": 7}, "starts_at": "2101-01-01T00:00:00Z", "ends_at": "2100-01-01T00:00:00Z"},
        {"entitlements": {"features": ["magic"]}},
    ],
    ids=str,
)
async def test_an_unfit_one_is_refused_and_changes_nothing(
    body: dict[str, Any], plans: OwnFile, settings_of: MakeSettings
) -> None:
    async with serving(settings_of(plans)) as admin:
        answer = await admin.ask("PUT", f"limits/tenants/{new_id()}", {"reason": REASON, **body})
        assert (answer.status_code, answer.json()["errors"][0]["loc"][0]) == (422, "body")
        assert (await admin.told("GET", "limits/tenants"))["data"] == []
        assert (await admin.ask("PUT", "limits/tenants/nobody", {"reason": REASON, "limits": {"day": 7}})).status_code == 422


async def test_there_are_no_more_than_a_gateway_reads_in_a_moment(
    plans: OwnFile, settings_of: MakeSettings, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """
        INSERT INTO ratelimit.tenant_override (tenant_id, rules, reason, actor, changed_at)
        SELECT gen_random_uuid(), '{"limits": {"day": 7}}', '', 'ann', now() FROM generate_series(1, $1::int)
        """,
        MOST_OVERRIDES,
    )
    known = await connection.fetchval("SELECT tenant_id FROM ratelimit.tenant_override LIMIT 1")
    await connection.close()
    async with serving(settings_of(plans)) as admin:
        answer = await admin.ask("PUT", f"limits/tenants/{new_id()}", {"reason": REASON, "limits": {"day": 7}})
        assert answer.status_code == 409
        await give(admin, known, limits={"day": 8})


async def test_what_has_ended_is_put_away_after_a_week_and_old_history_after_its_time(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, bus: EventBus
) -> None:
    """What is in force stays, however old, and so does what the file's next change is compared with."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    clock = Movable(began)
    ends, tenant, other = began + timedelta(days=1), new_id(), new_id()
    async with parts_of(settings_of(plans), redis, bus, clock=clock) as parts:
        overriding = Overriding(parts.database, Recorder(clock, new_id), parts.changed)
        sweeper = Sweeper(parts.database, overriding, timedelta(days=365), clock)
        await parts.control.look()
        for number, day in enumerate((20, 30), start=1):
            await parts.publishing.publish(plans_with(day), replaces=number, reason="", origin=OURSELVES)
        await overriding.set(tenant, Override.model_validate({"ends_at": ends, "limits": {"day": 7}}), "", OURSELVES)
        await overriding.set(other, Override.model_validate({"limits": {"day": 7}}), "", OURSELVES)

        async def kept() -> tuple[set[UUID], list[int]]:
            listed = await overriding.list(None, after=None, limit=10)
            return {one.tenant_id for one in listed}, [one.number for one in await parts.publishing.history(before=None, limit=9)]

        clock.now = ends + timedelta(days=6)
        await sweeper.sweep()
        assert await kept() == ({tenant, other}, [3, 2, 1])
        clock.now = ends + timedelta(days=8)
        await sweeper.sweep()
        assert await kept() == ({other}, [3, 2, 1])
        clock.now = began + timedelta(days=366)
        await sweeper.sweep()
        assert await kept() == ({other}, [3, 1])
        async with parts.database.begin() as rows, gateways(redis, bus) as both:
            revision = await rows.revision()
            await parts.control.look()
            await enforced(both, lambda book: set(book.overrides) == {str(other)})
        assert (await parts.published.state()).told == revision
