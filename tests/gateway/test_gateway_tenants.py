"""Members of a tenant at the edge: whose quota they spend, and how soon a change of their tenant counts."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.app import create_app
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import auth_subject
from tests.gateway.conftest import Origin, settings_for, until_it_follows
from tests.support.asgi import running
from tests.support.poll import until

SYMBOLS = "/api/v1/symbols"


async def day_used(redis: Redis, subject: str) -> int:
    return int(await redis.hget(f"limits:day:{subject}", "used") or 0)


def left(answer: httpx.Response) -> tuple[int, int]:
    """Of the day: all there is, and what is left of it."""
    return (
        int(answer.headers["ratelimit-policy"].partition(";q=")[2].partition(";")[0]),
        int(answer.headers["ratelimit"].partition(";r=")[2].partition(";")[0]),
    )


async def test_members_spend_a_shared_quota_together(gateway: httpx.AsyncClient, origin: Origin, redis: Redis) -> None:
    tenant_id = str(new_id())
    one, two = (origin.new_person("tiny", tenant_id=tenant_id, quota="shared", members=None)[0] for _ in range(2))
    answers = [await gateway.get(SYMBOLS, headers=headers) for headers in (one, two, one, two)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [left(answer) for answer in answers] == [(3, 2), (3, 1), (3, 0), (3, 0)]
    assert await day_used(redis, f"tenant:{tenant_id}") == 3
    assert origin.envelope("data-service").principal.quota == "shared"


async def test_members_share_the_places_of_a_shared_quota(gateway: httpx.AsyncClient, origin: Origin) -> None:
    tenant_id = str(new_id())
    one, two = (origin.new_person("tiny", tenant_id=tenant_id, quota="shared")[0] for _ in range(2))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await leave.wait()
        return JSONResponse({})

    origin.answer = slow
    waiting = asyncio.create_task(gateway.get(SYMBOLS, headers=one))
    await entered.wait()
    refused = await gateway.get(SYMBOLS, headers=two)
    leave.set()
    assert (refused.status_code, refused.json()["violated-policies"]) == (429, ["concurrency"])
    assert (await waiting).status_code == 200


@pytest.mark.parametrize(("members", "part"), [(1, 10), (3, 3), (10, 1), (1000, 1)])
async def test_each_member_has_a_part_of_a_split_quota(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis, members: int, part: int
) -> None:
    tenant_id = str(new_id())
    people = [origin.new_person("many", tenant_id=tenant_id, quota="split", members=members) for _ in range(2)]
    for headers, person in people:
        answers = [await gateway.get(SYMBOLS, headers=headers) for _ in range(part + 1)]
        assert [answer.status_code for answer in answers] == [*[200] * part, 429]
        assert left(answers[0]) == (part, part - 1)
        assert await day_used(redis, f"user:{person['user_id']}") == part
    assert await day_used(redis, f"tenant:{tenant_id}") == 0


async def test_who_has_a_quota_of_their_own_spends_it_as_ever_and_services_of_before_understand_it(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("many", quota=None, members=None)
    assert left(await gateway.get(SYMBOLS, headers=headers)) == (10, 9)
    assert await day_used(redis, f"user:{person['user_id']}") == 1
    header = origin.calls[-1].headers["X-Kalpi-Principal"]
    assert not {"quota", "members"} & decoded(header)["principal"].keys()


def decoded(header: str) -> dict[str, Any]:
    payload = header.partition(".")[0]
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return document


@pytest.fixture
async def gateways(
    redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str
) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        settings = settings_for(origin_url, redis_url, nats_url)
        yield [await stack.enter_async_context(running(create_app(settings))) for _ in range(2)]


async def test_a_changed_tier_counts_on_every_gateway(
    gateways: list[httpx.AsyncClient], origin: Origin, bus: EventBus, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """With the fact of the change, not when what was resolved is too old (10 s). How long it took is in the report."""
    headers, person = origin.new_person("many", quota="split", members=1)
    slowest = 0.0
    for tier, quota in (("wide", None), ("tiny", 3), ("many", 10)):
        for gateway in gateways:
            await gateway.get(SYMBOLS, headers=headers)
        person["tier"] = tier
        started = time.perf_counter()
        await bus.publish(auth_subject("tenant", "updated"), {"tenant_id": person["tenant_id"], "changed": ["tier"]})
        for gateway in gateways:
            await until(partial(has, gateway, headers, quota), every_s=0.005, what=f"the tier {tier}")
        slowest = max(slowest, time.perf_counter() - started)
    record_testsuite_property("a changed tier counts on two gateways after, s", round(slowest, 3))


async def has(gateway: httpx.AsyncClient, headers: dict[str, str], quota: int | None) -> bool:
    policies = (await gateway.get(SYMBOLS, headers=headers)).headers.get("ratelimit-policy")
    return (int(policies.partition(";q=")[2].partition(";")[0]) if policies else None) == quota


@pytest.mark.parametrize(
    ("noun", "event", "changed"),
    [("tenant", "member_added", []), ("tenant", "member_removed", []), ("user", "updated", ["is_active"])],
)
async def test_a_change_of_members_counts_for_the_others(
    gateway: httpx.AsyncClient, origin: Origin, bus: EventBus, noun: str, event: str, changed: list[str]
) -> None:
    headers, person = origin.new_person("many", quota="split", members=1)
    await gateway.get(SYMBOLS, headers=headers)
    person["members"] = 2
    told = {"tenant_id": person["tenant_id"], "user_id": str(new_id()), "changed": changed}
    await bus.publish(auth_subject(noun, event), told)
    await until(lambda: has(gateway, headers, 5), what="half of the quota")


async def test_a_change_of_another_tenant_or_of_a_colleagues_address_concerns_nobody_else(
    gateway: httpx.AsyncClient, origin: Origin, bus: EventBus
) -> None:
    headers, person = origin.new_person("many")
    stranger, theirs = origin.new_person("many")
    await until_it_follows(gateway, origin, bus)
    for each in (headers, stranger):
        await gateway.get(SYMBOLS, headers=each)
    colleague = {"tenant_id": person["tenant_id"], "user_id": str(new_id())}
    await bus.publish(auth_subject("user", "updated"), {**colleague, "changed": ["email"]})
    theirs["members"], theirs["quota"] = 2, "split"
    await bus.publish(auth_subject("tenant", "updated"), {"tenant_id": theirs["tenant_id"], "changed": ["tier"]})
    await until(lambda: has(gateway, stranger, 5), what="what was told last")
    await gateway.get(SYMBOLS, headers=headers)
    assert [origin.times_resolved(each) for each in (headers, stranger)] == [1, 2]
