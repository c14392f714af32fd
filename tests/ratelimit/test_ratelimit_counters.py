"""Counters set back, others' use, and decisions for services that stand behind no gateway."""

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.adapters.facts import follow_counters
from ratelimit_service.app import NAME
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.limiter import Limiter, policies_of
from shared.limits.plans import parse_plans
from shared.limits.sharing import subject_of
from shared.principal import Principal
from shared.scripts import ScriptConnection
from tests.ratelimit.conftest import SMALL, Administrator, MakeSettings, OwnFile, serving
from tests.support.poll import until
from tests.support.principals import headers_for, user

LIMITS = parse_plans(SMALL).tiers["free"].limits
CHECK = "/api/v1/check"


async def spend(redis_url: str, subject: str, times: int) -> list[bool]:
    """As a gateway does; which were admitted."""
    async with ScriptConnection(redis_url) as scripts:
        return [(await Limiter(scripts).decide(policies_of(LIMITS, subject))).admitted for _ in range(times)]


async def used(redis: Redis, subject: str) -> int:
    return int(await redis.hget(f"limits:day:{subject}", "used") or 0)


async def test_a_reset_forgets_what_was_used_and_not_who_asked_for_it(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, redis_url: str
) -> None:
    one, other = str(new_id()), str(new_id())
    for name in (one, other):
        await spend(redis_url, f"user:{name}", 7)
    async with serving(settings_of(plans)) as admin:
        answer = await admin.told("POST", f"limits/users/{one}/reset", {"reason": "our mistake"})
        assert answer == {"before": {f"day:user:{one}": 7}}
        assert [await used(redis, f"user:{name}") for name in (one, other)] == [0, 7]
        (change,) = (await admin.told("GET", "limits/changes", noun="counter", subject=f"user:{one}"))["data"]
        assert (change["event"], change["before"], change["reason"]) == ("reset", {f"day:user:{one}": 7}, "our mistake")
        assert change["actor"] == admin.principal.user_id
    assert await spend(redis_url, f"user:{one}", 11) == [*[True] * 10, False], "and no more than its quota"


async def test_every_gateway_is_told_whose_counters_were_set_back(
    plans: OwnFile, settings_of: MakeSettings, bus: EventBus
) -> None:
    told: list[str] = []
    name = str(new_id())
    async with serving(settings_of(plans)) as admin:
        following = follow_counters(bus, lambda *subjects: told.extend(subjects))
        await until(lambda: _is(following.current), what="the follower")
        await admin.told("POST", f"limits/tenants/{name}/reset", {"reason": "our mistake"})
        await until(lambda: _is(bool(told)), what="the fact")
    assert told == [f"tenant:{name}", f"members:{name}"]


async def _is(truth: bool) -> bool:
    return truth


@pytest.mark.parametrize(
    ("kind", "name", "subjects"),
    [
        ("tenants", "0190b5a0-0000-7000-8000-000000000001", ("tenant:{}", "members:{}")),
        ("addresses", "2001:DB8::7", ("ip:2001:db8::/64", "callers:2001:db8::/64")),
        ("addresses", "192.0.2.7", ("ip:{}", "callers:{}")),
        ("addresses", "::ffff:192.0.2.8", ("ip:192.0.2.8", "callers:192.0.2.8")),
    ],
)
async def test_tenants_and_addresses_are_set_back_with_all_that_is_counted_of_them(
    kind: str, name: str, subjects: tuple[str, ...], plans: OwnFile, settings_of: MakeSettings, redis: Redis, redis_url: str
) -> None:
    named = [subject.format(name) for subject in subjects]
    for subject in named:
        await redis.delete(f"limits:day:{subject}")
        await spend(redis_url, subject, 2)
        await redis.set(f"limits:burst:{subject}", 1 << 60)
    async with serving(settings_of(plans)) as admin:
        answer = await admin.told("POST", f"limits/{kind}/{name}/reset", {"reason": "our mistake"})
    assert answer["before"] == {f"day:{subject}": 2 for subject in named}
    assert not await redis.exists(*(f"limits:{counter}:{subject}" for counter in ("day", "burst") for subject in named))


async def test_a_lease_of_what_is_set_back_is_credited_to_nobody(plans: OwnFile, settings_of: MakeSettings, redis: Redis) -> None:
    one, other = str(new_id()), str(new_id())
    leases = {f"g1 20000 500 limits:day:user:{name}": 1 << 50 for name in (one, other)}  # not lost for long
    await redis.zadd("limits:leases", leases)
    async with serving(settings_of(plans)) as admin:
        await admin.told("POST", f"limits/users/{one}/reset", {"reason": "our mistake"})
    kept = await redis.zrange("limits:leases", 0, -1)
    await redis.zrem("limits:leases", *leases)
    assert kept == [f"g1 20000 500 limits:day:user:{other}".encode()]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("users/nobody", {"reason": "x"}),
        ("addresses/nowhere", {"reason": "x"}),
        ("keys/0190b5a0-0000-7000-8000-000000000001", {"reason": "x"}),
        ("users/0190b5a0-0000-7000-8000-000000000001", {"reason": ""}),
        ("users/0190b5a0-0000-7000-8000-000000000001", {}),
    ],
)
async def test_what_names_nothing_or_gives_no_reason_is_refused(
    path: str, body: dict[str, str], plans: OwnFile, settings_of: MakeSettings
) -> None:
    async with serving(settings_of(plans)) as admin:
        assert (await admin.ask("POST", f"limits/{path}/reset", body)).status_code == 422


async def test_an_administrator_sees_what_a_user_would_see(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, redis_url: str
) -> None:
    alone = user("free")
    shared = user("free").model_copy(update={"quota": "shared"})
    split = user("free").model_copy(update={"quota": "split", "members": 3})
    async with serving(settings_of(plans)) as admin:
        for someone in (alone, shared, split):
            await spend(redis_url, subject_of(someone), 2)
            own = (await admin.client.get("/api/v1/usage", headers=headers_for(someone, NAME))).json()
            terms = {"quota": someone.quota, "members": someone.members}
            who = {"user_id": someone.user_id, "tenant_id": someone.tenant_id, "tier": someone.tier}
            seen = await admin.told("GET", "limits/usage", **who, **{name: one for name, one in terms.items() if one is not None})
            for document in (seen, own):
                document["as_of"] = document["policies"][0]["reset_s"] = "a moment later"
            assert seen == own
            assert [one["used"] for one in seen["policies"]] == [2]
        who = {"user_id": alone.user_id, "tenant_id": alone.tenant_id, "tier": "gold"}
        assert (await admin.ask("GET", "limits/usage", **who)).status_code == 403


async def check(admin: Administrator, who: Principal | None = None, **body: Any) -> httpx.Response:
    headers = headers_for(who or Principal.service("reports"), NAME)
    return await admin.client.post(CHECK, json=body, headers=headers)


async def test_a_decision_spends_from_the_counters_of_the_gateways(
    plans: OwnFile, settings_of: MakeSettings, redis: Redis, redis_url: str
) -> None:
    someone = user("free")
    who: dict[str, Any] = {"user_id": someone.user_id, "tenant_id": someone.tenant_id, "tier": "free"}
    async with serving(settings_of(plans)) as admin:
        await spend(redis_url, subject_of(someone), 3)
        answer = (await check(admin, **who, cost=5)).json()
        assert (answer["admitted"], answer["violated"]) == (True, [])
        assert [(one["name"], one["quota"], one["remaining"]) for one in answer["policies"]] == [("day", 10, 2)]
        assert answer["fields"]["RateLimit-Policy"] == '"day";q=10;w=86400'
        refused = (await check(admin, **who, cost=3)).json()
        assert (refused["admitted"], refused["violated"], refused["policies"][0]["remaining"]) == (False, ["day"], 2)
        assert int(refused["fields"]["Retry-After"]) == refused["retry_after_s"] > 0
        looked = (await check(admin, **who, cost=0)).json()
        assert (looked["admitted"], looked["policies"][0]["remaining"]) == (True, 2)
        assert (await check(admin, **{**who, "tier": "gold"})).status_code == 403
    assert await used(redis, subject_of(someone)) == 8


async def test_an_override_counts_in_a_decision(plans: OwnFile, settings_of: MakeSettings) -> None:
    someone = user("free")
    who: dict[str, Any] = {"user_id": someone.user_id, "tenant_id": someone.tenant_id, "tier": "free"}
    async with serving(settings_of(plans)) as admin:
        given = {"limits": {"day": 99}, "reason": "a trial", "ends_at": "2101-01-01T00:00:00Z"}
        await admin.told("PUT", f"limits/tenants/{someone.tenant_id}", given)

        async def counts() -> bool:
            return bool((await check(admin, **who, cost=0)).json()["policies"][0]["quota"] == 99)

        await until(counts, what="the override")


async def test_of_ones_own_policies_all_admit_or_nothing_is_spent(plans: OwnFile, settings_of: MakeSettings) -> None:
    mine: dict[str, Any] = {
        "subject": f"reports/{new_id()}",
        "policies": [
            {"name": "hourly", "quota": 2, "window_s": 3600},
            {"name": "daily", "kind": "day", "quota": 100},
        ],
    }
    async with serving(settings_of(plans)) as admin:
        answers = [(await check(admin, **mine)).json() for _ in range(3)]
        assert [answer["admitted"] for answer in answers] == [True, True, False]
        assert answers[2]["violated"] == ["hourly"]
        assert [one["remaining"] for one in answers[2]["policies"]] == [0, 98]
        other: dict[str, Any] = {**mine, "subject": f"reports/{new_id()}"}
        assert (await check(admin, **other)).json()["admitted"]
        tiered: dict[str, Any] = {"subject": mine["subject"], "tier": "free"}
        assert (await check(admin, **tiered)).json()["policies"][0]["remaining"] == 9


async def test_many_decisions_at_once_admit_what_there_is(plans: OwnFile, settings_of: MakeSettings) -> None:
    mine: dict[str, Any] = {"subject": f"flood/{new_id()}", "policies": [{"name": "daily", "kind": "day", "quota": 30}]}
    async with serving(settings_of(plans)) as admin:
        answers = await asyncio.gather(*(check(admin, **mine) for _ in range(100)))
    assert sum(answer.json()["admitted"] for answer in answers) == 30


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subject": "a"},
        {"subject": "a", "tier": "free", "policies": [{"name": "x", "quota": 1}]},
        {"subject": "a b", "tier": "free"},
        {"user_id": "0190b5a0-0000-7000-8000-000000000001"},
        {"user_id": "0190b5a0-0000-7000-8000-000000000001", "subject": "a", "tier": "free"},
        {"user_id": "0190b5a0-0000-7000-8000-000000000001", "tier": "free", "quota": "shared"},
        {"subject": "a", "policies": [{"name": "x", "quota": 0}]},
        {"subject": "a", "policies": [{"name": "X", "quota": 1}]},
        {"subject": "a", "policies": [{"name": "x", "quota": 1}, {"name": "x", "quota": 2}]},
        {"subject": "a", "policies": [{"name": f"x{n}", "quota": 1} for n in range(9)]},
        {"subject": "a", "tier": "free", "cost": -1},
        {"subject": "a", "tier": "free", "cost": 1e300},
        {"subject": "a", "tier": "free", "key": "limits:plans"},
    ],
    ids=str,
)
async def test_an_unfit_question_is_refused(body: dict[str, Any], plans: OwnFile, settings_of: MakeSettings) -> None:
    async with serving(settings_of(plans)) as admin:
        answer = await check(admin, **body)
        assert (answer.status_code, answer.json()["errors"][0]["loc"][0]) == (422, "body")


async def test_who_asks_for_a_decision_is_a_service_or_an_administrator(plans: OwnFile, settings_of: MakeSettings) -> None:
    mine: dict[str, Any] = {"subject": "a", "tier": "free", "cost": 0}
    admin_user = user("pro", roles=("admin",))
    async with serving(settings_of(plans)) as admin:
        assert (await check(admin, admin_user, **mine)).status_code == 200
        assert (await check(admin, admin_user.model_copy(update={"scopes": ("bars:read",)}), **mine)).status_code == 403
        assert (await check(admin, user("pro"), **mine)).status_code == 403
        assert (await admin.client.post(CHECK, json=mine)).status_code == 401
