"""The edge from outside: who gets in, what it costs, what the services see, and what is answered when they fail."""

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.api import asgi_exchange, forwarding
from gateway.app import create_app
from gateway.domain import slots
from gateway.domain.admission import Admission
from shared.api_keys import digest
from shared.events import EventBus
from shared.subjects import auth_subject
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.asgi import running
from tests.support.clients import until_cached
from tests.support.http_server import serving
from tests.support.poll import until

SYMBOLS = "/api/v1/symbols"


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


async def day_used(redis: Redis, person: dict[str, str]) -> int:
    return int(await redis.hget(f"limits:day:user:{person['user_id']}", "used") or 0)


async def test_a_service_sees_the_callers_principal_and_nothing_else_of_the_client(
    gateway: httpx.AsyncClient, origin: Origin
) -> None:
    headers, person = origin.new_person("wide")
    sent = {
        **headers,
        "X-Kalpi-Principal": "forged",
        "X-Kalpi-Anything": "forged",
        "X-Forwarded-For": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "Cookie": "a=b",
        "Connection": "x-hop",
        "X-Hop": "1",
        "Accept": "text/csv",
    }
    answer = await gateway.get("/api/v1/bars/BRK.B?limit=5&limit=%41", headers=sent)
    assert answer.json() == {"path": "/api/v1/bars/BRK.B"}
    call = origin.calls[-1]
    assert call.scope["query_string"] == b"limit=5&limit=%41", "the query arrives as it was sent"
    envelope = origin.envelope("data-service")
    assert envelope.principal.user_id == person["user_id"]
    assert envelope.entitled.allows_indicator("anything")
    assert envelope.client_ip == "127.0.0.1"
    seen = set(call.headers) - {"host", "x-kalpi-principal", "x-kalpi-deadline-ms", "x-request-id", "traceparent"}
    assert seen == {"accept"}
    assert call.headers["accept"] == "text/csv"
    assert call.headers["x-request-id"] == answer.headers["x-request-id"]


async def test_a_principal_signed_for_one_service_is_of_no_use_at_another(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await gateway.get(SYMBOLS, headers=headers)
    for other in ("indicator-service", "auth-service", "ratelimit-service"):
        with pytest.raises(Exception, match="signed principal"):
            origin.envelope(other)


async def test_an_open_route_needs_no_credentials_and_vouches_for_nobody(gateway: httpx.AsyncClient, origin: Origin) -> None:
    answer = await gateway.post("/api/v1/auth/login", data={"username": "a", "password": "b"})
    assert answer.status_code == 200
    envelope = origin.envelope("auth-service")
    assert (envelope.principal.kind, envelope.principal.user_id) == ("service", "svc:gateway")
    assert envelope.entitlements is None
    assert origin.bodies[-1] == b"username=a&password=b"


async def test_without_valid_credentials_nothing_is_forwarded(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    unknown = {"X-API-Key": headers["X-API-Key"]}
    origin.people.clear()
    for sent in ({}, unknown, {"X-API-Key": "kalpi_live_" + "a" * 36}, {"Authorization": "Bearer a.b.c"}):
        answer = await gateway.get(SYMBOLS, headers=sent)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not origin.calls


async def test_an_address_has_so_many_requests_without_credentials_a_second(
    redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str
) -> None:
    async with (
        serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        await redis.delete("limits:burst:ip:127.0.0.1")
        answers = await asyncio.gather(*(client.get(SYMBOLS) for _ in range(120)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {401, 429}
        assert problem(refused[0], 429)["violated-policies"] == ["ip"]
        assert int(refused[0].headers["retry-after"]) >= 1
        await redis.delete("limits:burst:ip:127.0.0.1")


async def test_a_path_that_no_service_has_is_not_found(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    for path in ("/api/v1/nowhere", "/internal/v1/resolve", "/metrics", "/api/v1/bars/A%2FB"):
        problem(await gateway.get(path, headers=headers), 404)
    assert not origin.calls


async def test_a_tier_without_a_plan_is_refused(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("unheard_of")
    problem(await gateway.get(SYMBOLS, headers=headers), 403)


async def test_a_slot_in_use_does_not_run_out(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "RENEW_S", 0.02)
    headers, person = origin.new_person("tiny")
    key, entered, leave = f"limits:slots:user:{person['user_id']}", asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await leave.wait()
        return JSONResponse({})

    async def ends() -> float:
        held = await redis.zrange(key, 0, -1, withscores=True)
        return float(held[0][1]) if held else 0.0

    origin.answer = slow
    async with running(create_app(settings_for(origin_url, redis_url, nats_url))) as gateway:
        waiting = asyncio.create_task(gateway.get(SYMBOLS, headers=headers))
        await entered.wait()
        first = await ends()

        async def renewed() -> bool:
            return await ends() > first > 0

        await until(renewed, what="a later end of the slot")
        leave.set()
        assert (await waiting).status_code == 200

        async def given_back() -> bool:
            return not await redis.exists(key)

        await until(given_back, what="the slot, which nobody waits for")


async def test_a_quota_is_spent_by_data_calls_alone(gateway: httpx.AsyncClient, origin: Origin, redis: Redis) -> None:
    headers, person = origin.new_person("tiny")
    for path in ("/api/v1/auth/me", "/api/v1/indicators", "/api/v1/usage"):
        answer = await gateway.get(path, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"account";q=20;w=1'
    left = [(await gateway.get(SYMBOLS, headers=headers)).headers["ratelimit"].partition(";t=")[0] for _ in range(3)]
    assert left == ['"day";r=2', '"day";r=1', '"day";r=0']
    refused = await gateway.get(SYMBOLS, headers=headers)
    assert problem(refused, 429)["violated-policies"] == ["day"]
    assert refused.headers["ratelimit-policy"] == '"day";q=3;w=86400'
    assert refused.headers["ratelimit"].startswith('"day";r=0;t=')
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert await day_used(redis, person) == 3
    assert (await gateway.get("/api/v1/usage", headers=headers)).status_code == 200


async def test_an_explanation_costs_nothing_and_is_not_kept(gateway: httpx.AsyncClient, origin: Origin, market: Market) -> None:
    headers, _ = origin.new_person("tiny")
    path = f"/api/v1/indicators/sma?symbol={market.symbol}"
    for number in range(1, 6):
        answer = await gateway.get(f"{path}&explain=true", headers=headers)
        assert (answer.status_code, len(origin.calls)) == (200, number)
        assert answer.headers["ratelimit"].startswith('"account";')
    assert (await gateway.get(path, headers=headers)).headers["ratelimit"].startswith('"day";r=2')
    # a POST computes, whatever its query says
    posted = await gateway.post(f"{path}&explain=true", headers=headers)
    assert posted.headers["ratelimit"].startswith('"day";')


async def test_what_the_edge_refuses_costs_nothing(gateway: httpx.AsyncClient, origin: Origin, redis: Redis) -> None:
    headers, person = origin.new_person("tiny")
    problem(await gateway.post("/api/v1/bars/A", headers=headers, content=b"x" * (2 << 20)), 413)
    assert await day_used(redis, person) == 0


async def test_more_requests_at_once_than_the_plan_allows_are_refused_and_cost_nothing(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("tiny")
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_request: Request) -> Response:
        under_way.set()
        await go_on.wait()
        return JSONResponse({})

    origin.answer = slowly
    first = asyncio.create_task(gateway.get(SYMBOLS, headers=headers))
    await under_way.wait()
    assert problem(await gateway.get(SYMBOLS, headers=headers), 429)["violated-policies"] == ["concurrency"]
    go_on.set()
    assert (await first).status_code == 200
    assert (await gateway.get(SYMBOLS, headers=headers)).status_code == 200, "the slot was given back"
    assert await day_used(redis, person) == 2


async def test_an_answer_is_given_again_until_the_bars_change(
    gateway: httpx.AsyncClient, origin: Origin, market: Market, redis: Redis
) -> None:
    headers, person = origin.new_person("tiny")
    wide, _ = origin.new_person("wide")
    path = f"/api/v1/indicators/sma?symbol={market.symbol}"
    first = await until_cached(gateway, path, wide)
    calls = len(origin.calls)
    again = await gateway.get(path, headers=wide)
    assert (again.headers["x-cache"], again.content, again.headers["etag"]) == ("HIT", first.content, '"v1"')
    assert again.headers["vary"] == "Accept, Origin"
    assert "surrogate-key" not in again.headers
    assert len(origin.calls) == calls
    hit_of_another_tier = await gateway.get(path, headers=headers)
    assert hit_of_another_tier.headers["x-cache"] == "MISS", "tiers share no answers"
    assert await day_used(redis, person) == 1
    assert (await gateway.get(path, headers=headers)).headers["x-cache"] == "HIT"
    assert await day_used(redis, person) == 2, "a hit costs one as well"

    await market.announce("v2")

    async def new() -> bool:
        return bool((await gateway.get(path, headers=wide)).json()["version"] == "v2")

    await until(new, what="the new version")
    assert len(origin.calls) > calls


async def test_the_order_of_parameters_is_no_other_request(gateway: httpx.AsyncClient, origin: Origin, market: Market) -> None:
    headers, _ = origin.new_person("wide")
    await until_cached(gateway, f"/api/v1/bars/{market.symbol}?a=1&b=2", headers)
    assert (await gateway.get(f"/api/v1/bars/{market.symbol}?b=2&a=1", headers=headers)).headers["x-cache"] == "HIT"
    assert (await gateway.get(f"/api/v1/bars/{market.symbol}?b=1&a=2", headers=headers)).headers["x-cache"] == "MISS"


async def test_a_client_that_has_the_answer_is_told_so(gateway: httpx.AsyncClient, origin: Origin, market: Market) -> None:
    headers, _ = origin.new_person("wide")
    await until_cached(gateway, f"/api/v1/bars/{market.symbol}?warm=1", headers)
    path = f"/api/v1/bars/{market.symbol}?n=1"
    has_it = {**headers, "If-None-Match": 'W/"other", "v1"'}
    on_a_miss = await gateway.get(path, headers=has_it)
    await until_cached(gateway, path, headers)
    on_a_hit = await gateway.get(path, headers=has_it)
    for answer, cache in ((on_a_miss, "MISS"), (on_a_hit, "HIT")):
        assert (answer.status_code, answer.content, answer.headers["x-cache"]) == (304, b"", cache)
        assert answer.headers["etag"] == '"v1"'
        assert "content-length" not in answer.headers


async def test_errors_and_untagged_answers_are_not_kept(gateway: httpx.AsyncClient, origin: Origin, market: Market) -> None:
    headers, _ = origin.new_person("wide")
    await until_cached(gateway, f"/api/v1/bars/{market.symbol}?warm=1", headers)

    async def fail(_request: Request) -> Response:
        return JSONResponse({}, 404, headers={"Surrogate-Key": f"bars:{market.symbol}@v1"})

    def tagged(*tags: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_request: Request) -> Response:
            answer = JSONResponse({})
            for tag in tags:
                answer.headers.append("Surrogate-Key", tag)
            return answer

        return answer

    newest = f"bars:{market.symbol}@v1"
    for number, given in enumerate((fail, tagged("more", newest), tagged(newest, "more"), None)):
        origin.answer = given
        path = f"/api/v1/bars/{market.symbol}?number={number}"
        assert [(await gateway.get(path, headers=headers)).headers["x-cache"] for _ in range(2)] == ["MISS", "MISS"]
    origin.answer = tagged(newest, newest)
    path = f"/api/v1/bars/{market.symbol}?twice=1"
    assert [(await gateway.get(path, headers=headers)).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]


async def test_a_revocation_is_heard_at_once(gateway: httpx.AsyncClient, origin: Origin, bus: EventBus) -> None:
    headers, person = origin.new_person("wide")

    async def follows() -> bool:
        """Any fact that concerns this key makes the gateway ask for it again."""
        before = origin.resolves
        await bus.publish(auth_subject("key", "renamed"), {"user_id": person["user_id"], "key_id": person["key_id"]})
        await gateway.get(SYMBOLS, headers=headers)
        return origin.resolves > before

    await gateway.get(SYMBOLS, headers=headers)
    await until(follows, what="the gateway follows auth facts")
    del origin.people[digest(headers["X-API-Key"])]
    await bus.publish(auth_subject("key", "revoked"), {"user_id": person["user_id"], "key_id": person["key_id"]})

    async def refused() -> bool:
        return (await gateway.get(SYMBOLS, headers=headers)).status_code == 401

    await until(refused, seconds=5, what="the revocation")


async def test_known_callers_go_on_while_auth_service_is_away(gateway: httpx.AsyncClient, origin: Origin) -> None:
    known, _ = origin.new_person("wide")
    new, _ = origin.new_person("wide")
    await gateway.get(SYMBOLS, headers=known)
    origin.away = True
    assert (await gateway.get(SYMBOLS, headers=known)).status_code == 200
    away = await gateway.get(SYMBOLS, headers=new)
    problem(away, 503)
    assert int(away.headers["retry-after"]) >= 1


@pytest.mark.parametrize("patience_s", [1.0])
async def test_a_service_that_does_not_answer_is_a_503_and_no_hang(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    hung = asyncio.Event()

    async def never(_request: Request) -> Response:
        await hung.wait()
        return Response()

    origin.answer = never
    answer = await asyncio.wait_for(gateway.get(SYMBOLS, headers=headers), 15)
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    hung.set()


async def test_a_refused_connection_is_tried_at_the_other_instance(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        urls = (f"http://127.0.0.1:{nobody.getsockname()[1]}", origin_url)
        headers, _ = origin.new_person("wide")
        async with running(create_app(settings_for(origin_url, redis_url, nats_url, data_urls=urls))) as client:
            answers = [await client.get(SYMBOLS, headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")

    async def half() -> AsyncIterator[bytes]:
        yield b"the first half"
        raise ConnectionResetError

    async def break_off(_request: Request) -> Response:
        return StreamingResponse(half(), media_type="text/plain")

    origin.answer = break_off
    async with (
        serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(SYMBOLS, headers=headers)
        origin.answer = None
        assert (await client.get(SYMBOLS, headers=headers)).status_code == 200


async def test_a_large_answer_is_streamed_whole(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    body = bytes(range(256)) * (4 << 12)

    async def large(_request: Request) -> Response:
        return Response(body, headers={"Surrogate-Key": "bars:A@v1"})

    origin.answer = large
    assert (await gateway.get("/api/v1/bars/A", headers=headers)).content == body


async def test_a_client_that_does_not_read_holds_no_connection_to_a_service(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "_PIECE_S", 0.2)
    headers, _ = origin.new_person("tiny")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(65_536)
            await asyncio.sleep(0)  # once nobody reads, sending no longer waits

    async def flood(_request: Request) -> Response:
        return StreamingResponse(endless())

    origin.answer = flood
    async with serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url:
        address = urlsplit(url)
        _, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
        request = f"GET {SYMBOLS} HTTP/1.1\r\nHost: x\r\nX-API-Key: {headers['X-API-Key']}\r\n\r\n"
        writer.write(request.encode())

        async def given_up() -> bool:
            """The one slot of this caller is free again."""
            origin.answer = None
            async with httpx.AsyncClient(base_url=url) as client:
                answer = await client.get(SYMBOLS, headers=headers)
            return sent > 0 and answer.status_code == 200

        await until(lambda: _is(sent > 0), what="the flood")
        await until(given_up, what="the slot of the client that does not read")
        writer.transport.abort()


async def _is(truth: bool) -> bool:
    return truth


async def test_a_target_beyond_ascii_is_refused(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")
    async with serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url:
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        key = headers["X-API-Key"].encode()
        writer.write(b"GET /api/v1/symbols?search=\xc3\xa9 HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n\r\n" % key)
        assert b" 400 " in await reader.readline()
        writer.transport.abort()
    assert not origin.calls


async def test_the_address_of_a_client_behind_a_trusted_proxy_is_the_one_it_tells(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")
    settings = settings_for(origin_url, redis_url, nats_url, trusted_proxies="127.0.0.0/8, ::1/128")
    async with running(create_app(settings)) as client:
        await client.get(SYMBOLS, headers={**headers, "X-Forwarded-For": "192.0.2.1, 198.51.100.7"})
    assert origin.envelope("data-service").client_ip == "198.51.100.7"


IMPORT = "/api/v1/data/import"


@pytest.mark.parametrize("patience_s", [1.0])
async def test_an_upload_goes_on_as_it_comes_and_may_take_its_time(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("tiny")
    body = bytes(range(256)) * (3 << 12)

    async def after_a_while(_request: Request) -> Response:
        await asyncio.sleep(1.5)  # longer than this gateway waits for any other answer
        return JSONResponse({"taken": True})

    origin.answer = after_a_while
    answer = await gateway.post(IMPORT, headers={**headers, "Content-Type": "text/csv"}, content=body)
    assert answer.json() == {"taken": True}
    assert origin.bodies[-1] == body
    assert origin.calls[-1].headers["content-length"] == str(len(body))
    assert origin.calls[-1].headers["content-type"] == "text/csv"
    assert await day_used(redis, person) == 0


async def test_an_upload_that_is_too_long_or_does_not_say_how_long_is_refused(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("tiny")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"

    problem(await gateway.post(IMPORT, headers=headers, content=pieces()), 422)
    problem(await gateway.post(IMPORT, headers={**headers, "Content-Length": str(1 << 40)}, content=b""), 413)
    assert not origin.calls


@pytest.mark.parametrize(("path", "status"), [("/api/v1/auth/login", 422), (IMPORT, 422)])
async def test_a_body_that_stops_coming_is_no_hang(
    origin: Origin,
    origin_url: str,
    redis: Redis,
    bus: EventBus,
    redis_url: str,
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    status: int,
) -> None:
    monkeypatch.setattr(asgi_exchange, "_PIECE_S", 0.2)
    headers, _ = origin.new_person("wide")
    async with serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url:
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {headers['X-API-Key']}\r\nContent-Length: 1000\r\n\r\nhalf"
        writer.write(head.encode())
        assert f" {status} ".encode() in await asyncio.wait_for(reader.readline(), 10)
        writer.transport.abort()


async def test_head_is_get_without_its_body(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")
    async with (
        serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        whole, head = await client.get(SYMBOLS, headers=headers), await client.head(SYMBOLS, headers=headers)
        again = await client.get(SYMBOLS, headers=headers)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    assert again.content == whole.content, "the connection is still in step"


async def test_health_tells_of_every_dependency(gateway: httpx.AsyncClient) -> None:
    health = (await gateway.get("/health")).json()
    assert health["status"] == "ok"
    assert set(health["dependencies"]) == {
        "nats",
        "redis",
        "limits",
        "plans",
        "auth-service",
        "data-service",
        "indicator-service",
        "ratelimit-service",
    }


async def test_the_documentation_needs_nothing_from_elsewhere(gateway: httpx.AsyncClient) -> None:
    page = await gateway.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = [part.partition('"')[0] for part in page.text.split('src="')[1:] + page.text.split('href="')[1:]]
    assert links
    for link in links:
        assert not urlsplit(link).netloc
        assert (await gateway.get(link)).status_code == 200, link
    assert (await gateway.get("/openapi.json")).json()["openapi"] == "3.1.0"


async def test_the_documentation_runs_its_own_scripts_alone(gateway: httpx.AsyncClient) -> None:
    page = await gateway.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", SYMBOLS, True, 200),
        ("GET", SYMBOLS, False, 401),
        ("GET", "/api/v1/nowhere", True, 404),
        ("GET", "/health/live", False, 200),
        ("GET", "/docs", False, 200),
        ("POST", "/api/v1/auth/login", False, 200),
    ],
)
async def test_every_answer_tells_browsers_what_not_to_do(
    origin: Origin,
    origin_url: str,
    redis: Redis,
    bus: EventBus,
    redis_url: str,
    nats_url: str,
    method: str,
    path: str,
    key: bool,
    status: int,
) -> None:
    headers, _ = origin.new_person("wide")
    async with running(create_app(settings_for(origin_url, redis_url, nats_url, hsts_s=60))) as gateway:
        answer = await gateway.request(method, path, headers=headers if key else {})
    told = answer.headers
    assert answer.status_code == status
    assert (told["x-content-type-options"], told["referrer-policy"], told["cache-control"]) == (
        "nosniff",
        "no-referrer",
        "no-store",
    )
    assert told["strict-transport-security"] == "max-age=60; includeSubDomains"
    assert told["vary"] == "Origin"


async def test_an_error_that_nobody_expected_is_a_500_that_tells_nothing(
    gateway: httpx.AsyncClient, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    headers, _ = origin.new_person("wide")
    monkeypatch.setattr(Admission, "plan_of", broken)
    answer = await gateway.get(SYMBOLS, headers={**headers, "X-Request-ID": "mine"})
    assert problem(answer, 500)["request_id"] == "mine"
    assert "secret" not in answer.text


async def test_metrics_are_on_a_port_of_their_own(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    async with running(create_app(settings_for(origin_url, redis_url, nats_url, metrics_port=port))) as client:
        await client.get(SYMBOLS)
        async with httpx.AsyncClient(trust_env=False) as scraper:
            text = (await scraper.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'kalpi_http_requests_total{method="GET",route="/api/v1/symbols",service="gateway",status="401"} 1.0' in text
