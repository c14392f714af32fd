"""What auth-service is told counts at the gateways: a real one behind two of them, on the real Postgres, NATS and Redis."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from auth_service.app import create_app as auth_app
from gateway.app import create_app as gateway_app
from gateway.settings import Settings
from shared.clock import system_clock
from shared.limits.book import PLANS_KEY
from shared.limits.plans import parse_plans
from shared.principal import HEADER
from shared.store import open_store
from tests.auth.auth_world import MovableClock, Person, World, administrator, settings_of
from tests.auth.tenancy import moved, organisation, with_member
from tests.support.asgi import running
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS

PLANS = """
anonymous_ip: {quota: 1000}
tiers:
  free: {limits: {day: 7}, entitlements: {indicators: [sma], batch_series: 5}}
  pro: {limits: {day: 100}, entitlements: {indicators: all, batch_series: 5}}
  premium: {limits: {day: 1000}, entitlements: {indicators: all, batch_series: 5}}
"""
ALLOW = "access-control-allow-origin"
Report = Callable[[str, object], None]


class TheTime(MovableClock):
    """The gateways' own."""

    def __call__(self) -> datetime:
        return system_clock()


async def echo(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stands for the services behind: gives back whom the gateway vouches for."""
    header = dict(scope["headers"])[HEADER.lower().encode()].partition(b".")[0]
    document = json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    await JSONResponse(document["principal"])(scope, _receive, send)


def only_http(app: ASGIApp) -> ASGIApp:
    """Of an app that has been started."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return served


def gateway_settings(auth_url: str, service_url: str, redis_url: str, nats_url: str) -> Settings:
    behind: dict[str, Any] = {f"{service}_urls": (service_url,) for service in ("data", "indicator", "ratelimit")}
    given: dict[str, Any] = {"principal_keys": SecretStr(PRINCIPAL_KEYS), "metrics_port": 0}
    return Settings(**given, **behind, auth_urls=(auth_url,), redis_url=SecretStr(redis_url), nats_url=SecretStr(nats_url))


@dataclass
class Place:
    world: World
    gateways: list[httpx.AsyncClient]

    async def everywhere(self, key: str, what: str, is_so: Callable[[httpx.Response], bool], **headers: str) -> float:
        """Seconds until it is so at every gateway."""
        started = time.perf_counter()
        for gateway in self.gateways:
            await until(partial(answered, gateway, key, is_so, headers), every_s=0.005, what=what)
        return time.perf_counter() - started

    async def set_tenant(self, person: Person, **changes: Any) -> None:
        answer = await self.world.call("PATCH", f"/api/v1/admin/tenants/{person.tenant_id}", administrator(), json=changes)
        assert answer.status_code == 200, answer.text

    async def key_of(self, person: Person) -> str:
        return str((await self.world.create_key(person))["api_key"])


async def answered(
    gateway: httpx.AsyncClient, key: str, is_so: Callable[[httpx.Response], bool], headers: dict[str, str]
) -> bool:
    return is_so(await gateway.get("/api/v1/usage", headers={"X-API-Key": key, **headers}))


def status(expected: int) -> Callable[[httpx.Response], bool]:
    return lambda answer: answer.status_code == expected


def told(**expected: Any) -> Callable[[httpx.Response], bool]:
    """Of what a service behind is vouched for: who stands for all of them here gives it back."""
    return lambda answer: answer.status_code == 200 and {name: answer.json().get(name) for name in expected} == expected


@pytest.fixture
async def place(database_url: str, nats_url: str, redis_url: str) -> AsyncIterator[Place]:
    settings = settings_of(database_url, nats_url)
    auth = auth_app(settings)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_store(redis_url))
        await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
        client = await stack.enter_async_context(running(auth))
        url = await stack.enter_async_context(serving(only_http(auth)))
        echo_url = await stack.enter_async_context(serving(only_http(echo)))
        gateways = [
            await stack.enter_async_context(running(gateway_app(gateway_settings(url, echo_url, redis_url, nats_url))))
            for _ in range(2)
        ]
        yield Place(World(client, TheTime(), settings), gateways)


async def test_a_tenants_tier_counts_at_every_gateway(place: Place, record_testsuite_property: Report) -> None:
    """From the administrator's request on, through the trail, its relay and NATS. How long it took is in the report."""
    owner = await organisation(place.world)
    key = await place.key_of(owner)
    seconds = [await place.everywhere(key, "the tier of their own", told(tier="free", quota=None))]
    for tier in ("pro", "premium", "pro", "premium"):
        await place.set_tenant(owner, tier=tier)
        seconds.append(await place.everywhere(key, tier, told(tier=tier, quota="split", members=1)))
    record_testsuite_property("a tenant's tier counts at two gateways after, s", round(max(seconds[1:]), 3))


async def test_a_users_tier_counts_at_every_gateway(place: Place, record_testsuite_property: Report) -> None:
    person = await place.world.member()
    key = await place.key_of(person)
    await place.everywhere(key, "free", told(tier="free"))
    path = f"/api/v1/admin/users/{person.id}"
    await place.world.call("PATCH", path, administrator(), json={"tier": "pro"})
    took = await place.everywhere(key, "pro", told(tier="pro"))
    record_testsuite_property("a user's tier counts at two gateways after, s", round(took, 3))


async def test_who_comes_goes_or_is_disabled_changes_the_parts_of_the_others(place: Place) -> None:
    owner = await organisation(place.world, tier="pro")
    key = await place.key_of(owner)
    await place.everywhere(key, "alone", told(members=1))
    first, second = await with_member(place.world, owner), await with_member(place.world, owner)
    await place.everywhere(key, "three", told(members=3))
    await place.world.call("PATCH", f"/api/v1/admin/users/{first.id}", administrator(), json={"is_active": False})
    await place.everywhere(key, "one is disabled", told(members=2))
    await place.world.call("DELETE", f"/api/v1/tenant/members/{second.id}", owner.principal)
    await place.everywhere(key, "one is removed", told(members=1))
    await place.set_tenant(owner, quota="shared")
    await place.everywhere(key, "together", told(quota="shared", members=None))


async def test_who_moves_is_in_the_other_tenant_at_every_gateway_with_the_same_key(place: Place) -> None:
    owner = await organisation(place.world, tier="pro")
    person = await place.world.member()
    key = await place.key_of(person)
    await place.everywhere(key, "their own tenant", told(tenant_id=str(person.tenant_id), tier="free"))
    await moved(place.world, person, owner.tenant_id)
    await place.everywhere(key, "the organisation", told(tenant_id=str(owner.tenant_id), tier="pro", members=2))
    await place.set_tenant(owner, is_active=False)
    await place.everywhere(key, "that it is disabled", status(401))
    await place.set_tenant(owner, is_active=True)
    await place.everywhere(key, "that it is enabled", status(200))


async def test_a_tenants_pages_may_ask_once_its_admins_have_said_so(place: Place) -> None:
    owner = await organisation(place.world)
    key, page = await place.key_of(owner), f"https://{owner.name}.example"
    await place.everywhere(key, "a refusal", status(403), Origin=page)
    await place.world.call("PATCH", "/api/v1/tenant", owner.principal, json={"allowed_origins": [page]})
    await place.everywhere(key, "the answer", lambda answer: answer.headers.get(ALLOW) == page, Origin=page)
    stranger = await place.key_of(await place.world.member())
    await place.everywhere(stranger, "a refusal", lambda answer: ALLOW not in answer.headers, Origin=page)
    await place.world.call("PATCH", "/api/v1/tenant", owner.principal, json={"allowed_origins": []})
    await place.everywhere(key, "a refusal again", status(403), Origin=page)
