"""What a credential may be used for and from where, on every route of the table."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import httpx
import pytest
from redis.asyncio import Redis

from gateway.app import create_app
from gateway.domain.addresses import AllowList
from gateway.domain.errors import NotFromHere
from gateway.domain.permission import check_permission
from gateway.domain.ports import Resolved
from gateway.domain.routing import Route
from shared.errors import ScopeRequired
from shared.events import EventBus
from shared.principal import Principal
from shared.scopes import SCOPES, Scope
from shared.subjects import auth_subject
from tests.gateway.conftest import Origin, settings_for, until_it_follows
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.routes import ROUTES, TABLE

ANYTHING = "any scope, or none"
NOBODY = "no credentials"
EXPECTED: dict[tuple[str, bool], tuple[str, str]] = {
    # (path, with everything beneath it): what reading takes, and what anything else takes
    ("/api/v1/auth/register", False): (NOBODY, NOBODY),
    ("/api/v1/auth/login", False): (NOBODY, NOBODY),
    ("/api/v1/auth/refresh", False): (NOBODY, NOBODY),
    ("/api/v1/auth/logout", False): (NOBODY, NOBODY),
    ("/api/v1/auth/password/forgot", False): (NOBODY, NOBODY),
    ("/api/v1/auth/password/reset", False): (NOBODY, NOBODY),
    ("/.well-known/jwks.json", False): (NOBODY, NOBODY),
    ("/api/v1/auth/me", False): (ANYTHING, "keys:manage"),
    ("/api/v1/auth", True): ("keys:manage", "keys:manage"),
    ("/api/v1/tenant", True): ("keys:manage", "keys:manage"),
    ("/api/v1/admin/plans", True): ("admin", "admin"),
    ("/api/v1/admin/limits", True): ("admin", "admin"),
    ("/api/v1/admin", True): ("admin", "admin"),
    ("/api/v1/usage", True): (ANYTHING, ANYTHING),
    ("/api/v1/check", False): ("admin", "admin"),
    ("/api/v1/analytics", True): ("admin", "admin"),
    ("/api/v1/indicators", False): ("indicators:read", "indicators:read"),
    ("/api/v1/indicators/batch", False): ("batch", "batch"),
    ("/api/v1/indicators/custom", True): ("indicators:read", "indicators:read"),
    ("/api/v1/indicators", True): ("indicators:read", "indicators:read"),
    ("/api/v1/expressions/validate", False): ("indicators:read", "indicators:read"),
    ("/api/v1/expressions", True): ("indicators:read", "indicators:read"),
    ("/api/v1/patterns", False): ("screener", "screener"),
    ("/api/v1/patterns", True): ("indicators:read", "indicators:read"),
    ("/api/v1/screener", False): ("screener", "screener"),
    ("/api/v1/symbols", True): ("bars:read", "bars:read"),
    ("/api/v1/bars", True): ("bars:read", "bars:read"),
    ("/api/v1/data/import", False): ("admin", "admin"),
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def some_path(route: Route) -> str:
    """One whose first match is this route."""
    return next(path for path in (route.path, f"{route.path}/x") if TABLE.of(path.encode()) is route)


def needed(route: Route, method: str) -> str:
    """By the table above; a route that is not in it has no scope, and no business here."""
    reading, changing = EXPECTED[route.path, not route.alone]
    return reading if method == "GET" else changing


def holding(*scopes: Scope) -> Resolved:
    return Resolved(Principal(kind="user", user_id="ann", scopes=scopes), None)


def missing(route: Route, method: str, caller: Resolved) -> str | None:
    """The scope that the caller is told to lack."""
    try:
        check_permission(caller, "192.0.2.1", route.scope_for(method))
    except ScopeRequired as error:
        return error.required_scope
    return None


def test_every_route_says_what_it_takes() -> None:
    assert {(route.path, not route.alone) for route in ROUTES} == set(EXPECTED)
    for route in ROUTES:
        assert (route.access == "open") == (needed(route, "GET") == NOBODY), route


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", SCOPES)
def test_one_scope_opens_the_routes_that_take_it_and_no_other(scope: Scope, method: str) -> None:
    for route in ROUTES:
        if route.access != "open":
            takes = needed(route, method)
            assert missing(route, method, holding(scope)) == (None if takes in (scope, ANYTHING) else takes), route


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", SCOPES)
def test_all_scopes_but_one_open_all_routes_but_those_that_take_it(scope: Scope, method: str) -> None:
    others = holding(*(one for one in SCOPES if one != scope))
    for route in ROUTES:
        if route.access != "open":
            assert missing(route, method, others) == (scope if needed(route, method) == scope else None), route


async def test_each_route_refuses_a_key_without_its_scope_through_the_whole_edge(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("wide", scopes=[])
    opened = []
    for route in ROUTES:
        for method in ("GET", "POST") if route.access != "open" else ():
            answer = await gateway.request(method, some_path(route), headers=headers)
            if needed(route, method) == ANYTHING:
                opened.append(some_path(route))
                assert answer.status_code == 200, route
                continue
            problem = answer.json()
            assert (answer.status_code, problem["required_scope"]) == (403, needed(route, method)), route
            assert problem["type"] == "urn:kalpi:problem:scope-required"
    assert [call.url.path for call in origin.calls] == opened, "nothing else was forwarded"
    assert not await redis.exists(f"limits:day:user:{person['user_id']}"), "what is refused costs nothing"


async def test_a_service_is_told_the_scopes(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide", scopes=["bars:read", "batch"])
    assert (await gateway.get("/api/v1/symbols", headers=headers)).status_code == 200
    assert origin.envelope("data-service").principal.scopes == ("bars:read", "batch")


def test_elsewhere_nobody_learns_what_a_key_is_good_for() -> None:
    caller = Resolved(holding("bars:read").principal, None, AllowList([ip_network("192.0.2.0/24")]))
    for scope in (None, "bars:read", "admin"):
        with pytest.raises(NotFromHere):
            check_permission(caller, "198.51.100.1", scope)
    check_permission(caller, "192.0.2.1", "bars:read")
    with pytest.raises(ScopeRequired):
        check_permission(caller, "192.0.2.1", "admin")


@pytest.fixture
async def behind_a_proxy(
    redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that believes this client about whom it asks for."""
    app = create_app(settings_for(origin_url, redis_url, nats_url, trusted_proxies="127.0.0.0/8"))
    async with running(app) as client:
        yield client


async def test_a_key_works_from_its_addresses_alone_also_once_it_is_known(
    behind_a_proxy: httpx.AsyncClient, origin: Origin, bus: EventBus
) -> None:
    await until_it_follows(behind_a_proxy, origin, bus)
    headers, _ = origin.new_person("wide", allowed_ips=["192.0.2.0/24", "2001:db8::/32"])

    async def from_(address: str) -> httpx.Response:
        return await behind_a_proxy.get("/api/v1/symbols", headers={**headers, "X-Forwarded-For": address})

    inside = ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9", "198.51.100.1, 192.0.2.9")
    outside = ("198.51.100.1", "::ffff:198.51.100.1", "2001:db9::1", "192.0.2.9, 198.51.100.1", "nonsense")
    for address in (*outside, *inside, *outside, *inside):
        answer = await from_(address)
        assert answer.status_code == (200 if address in inside else 403), address
    refused = (await from_(outside[0])).json()
    assert set(refused) == {"type", "title", "status", "detail", "instance", "request_id"}
    assert "192.0.2" not in str(refused)
    assert origin.times_resolved(headers) == 1, "it was known from the first request on"
    assert len(origin.calls) == 2 * len(inside)


async def test_who_tries_a_key_from_elsewhere_over_and_over_is_slowed_down(
    behind_a_proxy: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, _ = origin.new_person("wide", allowed_ips=["192.0.2.0/24"])
    elsewhere = {**headers, "X-Forwarded-For": "198.51.100.77"}
    await redis.delete("limits:burst:ip:198.51.100.77")
    answers = await asyncio.gather(*(behind_a_proxy.get("/api/v1/symbols", headers=elsewhere) for _ in range(120)))
    assert {answer.status_code for answer in answers} == {403, 429}


async def test_a_fact_of_a_tenant_ends_what_is_known_of_its_members(
    gateway: httpx.AsyncClient, origin: Origin, bus: EventBus
) -> None:
    headers, person = origin.new_person("wide")

    async def follows() -> bool:
        before = origin.resolves
        await bus.publish(auth_subject("tenant", "updated"), {"tenant_id": person["tenant_id"]})
        await gateway.get("/api/v1/symbols", headers=headers)
        return origin.resolves > before

    await gateway.get("/api/v1/symbols", headers=headers)
    await until(follows, what="the gateway follows facts of tenants")
