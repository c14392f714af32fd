"""Web pages at the edge: which ones may ask, which may read the answer, and that nothing is done for the others."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.domain.origins import page_of
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import auth_subject
from tests.gateway.conftest import Market, Origin
from tests.support.poll import until
from tests.support.routes import ROUTES

MINE, THEIRS, NOBODYS = "https://mine.example", "https://theirs.example:8443", "https://evil.example"
SYMBOLS = "/api/v1/symbols"
ALLOW = "access-control-allow-origin"


@pytest.fixture
def origin() -> Origin:
    """Every tenant's origins are there before the gateway is."""
    return Origin(origins=[MINE, THEIRS])


@pytest.fixture
async def page(gateway: httpx.AsyncClient) -> httpx.AsyncClient:
    """Once the gateway knows them."""
    await until(lambda: knows(gateway, MINE), what="the origins")
    return gateway


async def preflight(gateway: httpx.AsyncClient, origin: str, path: str = SYMBOLS, method: str = "GET") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-api-key"}
    return await gateway.options(path, headers=asked)


async def knows(gateway: httpx.AsyncClient, origin: str) -> bool:
    return (await preflight(gateway, origin)).status_code == 204


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and ALLOW not in answer.headers and answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("route", sorted({route.path for route in ROUTES}))
async def test_a_preflight_is_answered_by_the_edge_for_every_route(page: httpx.AsyncClient, origin: Origin, route: str) -> None:
    for allowed in (MINE, THEIRS):
        answer = await preflight(page, allowed, route, "DELETE")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (answer.headers[ALLOW], answer.headers["vary"]) == (allowed, "Origin")
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert "X-API-Key" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-max-age"] == "600"
        assert "access-control-allow-credentials" not in answer.headers
    assert refused(await preflight(page, NOBODYS, route))
    assert not origin.calls


@pytest.mark.parametrize(
    "other",
    [
        "null",
        "*",
        "",
        "https://mine.example.evil.example",
        "https://mine.example:444",
        "http://mine.example",
        "https://MINE.example",
    ],
)
async def test_an_origin_is_one_scheme_one_host_and_one_port(page: httpx.AsyncClient, other: str) -> None:
    assert refused(await preflight(page, other))


async def test_several_origins_are_none(page: httpx.AsyncClient) -> None:
    headers = [("Origin", MINE), ("Origin", THEIRS), ("Access-Control-Request-Method", "GET")]
    assert refused(await page.options(SYMBOLS, headers=headers))


async def test_a_page_of_the_callers_tenant_reads_the_answer(page: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("many", allowed_origins=[MINE])
    answer = await page.get(SYMBOLS, headers={**headers, "Origin": MINE})
    assert (answer.status_code, answer.headers[ALLOW]) == (200, MINE)
    assert "RateLimit" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" not in origin.calls[-1].headers


async def test_a_page_of_another_tenant_is_refused_and_does_nothing(
    page: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("many", allowed_origins=[MINE])
    for other in (THEIRS, NOBODYS):
        for method in ("GET", "POST"):
            assert refused(await page.request(method, SYMBOLS, headers={**headers, "Origin": other}))
    assert not origin.calls
    assert not await redis.exists(f"limits:day:user:{person['user_id']}")


async def test_what_is_kept_for_one_page_is_not_given_to_another(page: httpx.AsyncClient, origin: Origin, market: Market) -> None:
    path = f"/api/v1/bars/{market.symbol}"
    mine, _ = origin.new_person("wide", allowed_origins=[MINE])
    theirs, _ = origin.new_person("wide", allowed_origins=[THEIRS])

    async def kept() -> bool:
        return (await page.get(path, headers={**mine, "Origin": MINE})).headers["x-cache"] == "HIT"

    await until(kept, what="a cached answer")
    answer = await page.get(path, headers={**theirs, "Origin": THEIRS})
    assert (answer.headers["x-cache"], answer.headers.get_list(ALLOW)) == ("HIT", [THEIRS])
    assert "Origin" in answer.headers["vary"]
    assert ALLOW not in (await page.get(path, headers=mine)).headers


async def test_a_page_that_some_tenant_allows_reads_why_it_is_refused(page: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("tiny", allowed_origins=[MINE], scopes=["bars:read"])
    for path, sent, status in ((SYMBOLS, {}, 401), ("/api/v1/screener", headers, 403), (f"{SYMBOLS}/x", {"X-API-Key": "x"}, 401)):
        answer = await page.get(path, headers={**sent, "Origin": MINE})
        assert (answer.status_code, answer.headers[ALLOW]) == (status, MINE)


async def test_nobody_tries_passwords_from_a_page_that_no_tenant_allows(page: httpx.AsyncClient, origin: Origin) -> None:
    path, form = "/api/v1/auth/login", {"username": "a", "password": "b"}
    assert refused(await page.post(path, data=form, headers={"Origin": NOBODYS}))
    assert not origin.calls
    answer = await page.post(path, data=form, headers={"Origin": MINE})
    assert (answer.status_code, answer.headers[ALLOW]) == (200, MINE)


async def test_the_gateways_own_pages_and_programs_need_no_permission(page: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    for sent in ({}, {"Origin": "http://service"}, {"Origin": "https://service", "Host": "SERVICE"}):
        answer = await page.get(SYMBOLS, headers={**headers, **sent})
        assert (answer.status_code, answer.headers["vary"]) == (200, "Origin")
        assert ALLOW not in answer.headers


@pytest.mark.parametrize(
    ("origin_sent", "host", "page"),
    [
        (None, b"api.example", None),
        (b"https://api.example", b"api.example", None),
        (b"http://localhost:8080", b"localhost:8080", None),
        (b"http://localhost:8080", b"localhost", "http://localhost:8080"),
        (b"https://app.example", b"api.example", "https://app.example"),
        (b"null", b"null", "null"),
        (b"https://[", b"[", "https://["),
        (b"", b"", ""),
    ],
)
def test_a_page_of_this_host_is_no_other_page(origin_sent: bytes | None, host: bytes, page: str | None) -> None:
    assert page_of(origin_sent, host) == page


async def test_an_options_request_that_is_no_preflight_is_the_services(page: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide", allowed_origins=[MINE])
    assert (await page.options(SYMBOLS, headers={**headers, "Origin": MINE})).status_code == 200
    assert origin.calls[-1].method == "OPTIONS"


async def changed(bus: EventBus, **data: Any) -> None:
    await bus.publish(auth_subject("tenant", "updated"), {"tenant_id": str(new_id()), **data})


async def test_a_changed_tenant_makes_the_gateway_look(page: httpx.AsyncClient, origin: Origin, bus: EventBus) -> None:
    new = f"https://{new_id().hex}.example"
    origin.origins.append(new)
    assert refused(await preflight(page, new))
    await changed(bus, changed=["allowed_origins"])
    await until(lambda: knows(page, new), what="the new origin")
    origin.origins.remove(new)
    await changed(bus, changed=["is_active"])

    async def forgotten() -> bool:
        return not await knows(page, new)

    await until(forgotten, what="that it is gone")


async def test_while_auth_service_is_away_those_known_stay_and_then_it_looks_again(
    page: httpx.AsyncClient, origin: Origin, bus: EventBus
) -> None:
    new = f"https://{new_id().hex}.example"
    origin.away = True
    origin.origins.append(new)
    await changed(bus, changed=["allowed_origins"])
    for _ in range(3):
        assert await knows(page, MINE)
        assert not await knows(page, new)
    origin.away = False
    await until(lambda: knows(page, new), what="the new origin")
