"""Clients that go away before they are answered: what they asked for ends where it is computed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.app import create_app
from shared.events import EventBus
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.http_server import serving
from tests.support.poll import until

LONG_S = 60.0


class Computing:
    """An origin whose answers take until they are let go; `left` are the requests whose client has not stayed."""

    def __init__(self, origin: Origin, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self.begun = 0
        self.left = 0
        self.open = asyncio.Event()
        self._answer = answer
        origin.answer = self

    async def __call__(self, request: Request) -> Response:
        self.begun += 1
        let_go = asyncio.create_task(self.open.wait())
        while not let_go.done():
            await asyncio.wait({let_go}, timeout=0.01)
            if await request.is_disconnected():
                self.left += 1
                let_go.cancel()
                break
        return await self._answer(request)

    async def has_begun(self) -> bool:
        return self.begun > 0

    async def was_left(self) -> bool:
        return self.left > 0


@pytest.fixture
async def app(redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str) -> FastAPI:
    """A gateway that waits long for its services."""
    return create_app(settings_for(origin_url, redis_url, nats_url, upstream_timeout_s=LONG_S))


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[httpx.URL]:
    async with serving(app) as url:
        yield httpx.URL(url)


async def asking(url: httpx.URL, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> asyncio.StreamWriter:
    """A connection on which this was asked."""
    assert url.port is not None
    _, writer = await asyncio.open_connection(url.host, url.port)
    fields = {"Host": "localhost", "Accept": "*/*", **headers, **({"Content-Length": str(len(body))} if body else {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return writer


def recorded(app: FastAPI, status: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return f'status="{status}"' in app.state.shell.metrics.render()[0].decode()

    return look


async def answered(_request: Request) -> Response:
    return Response(b"late")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/symbols", b""),
        ("GET", "/api/v1/usage", b""),
        ("GET", "/api/v1/indicators/sma?explain=true", b""),
        ("POST", "/api/v1/indicators/sma", b"{}"),
        ("POST", "/api/v1/indicators/sma", b"x" * 400_000),
        ("POST", "/api/v1/auth/login", b"{}"),
    ],
    ids=["read", "account", "explained", "computed", "computed of much", "open"],
)
async def test_what_nobody_waits_for_is_taken_from_its_service(
    app: FastAPI, url: httpx.URL, origin: Origin, method: str, path: str, body: bytes
) -> None:
    headers, _ = origin.new_person("wide")
    computing = Computing(origin, answered)
    writer = await asking(url, method, path, {} if "login" in path else headers, body)
    await until(computing.has_begun, what="the request at its service")
    writer.transport.abort()
    await until(computing.was_left, what="the service's client to go away")
    await until(recorded(app, 499), what="its record")


async def test_an_answer_that_others_wait_for_is_still_theirs(
    app: FastAPI, url: httpx.URL, origin: Origin, market: Market
) -> None:
    headers, _ = origin.new_person("wide")
    path = f"/api/v1/bars/{market.symbol}"
    async with httpx.AsyncClient(base_url=url) as client:

        async def is_kept() -> bool:
            return (await client.get(f"{path}?warm=1", headers=headers)).headers["x-cache"] == "HIT"

        await until(is_kept, what="the market's facts")
        computing = Computing(origin, market.answer)
        first = await asking(url, "GET", path, headers)
        await until(computing.has_begun, what="the first at its service")
        second = asyncio.create_task(client.get(path, headers=headers))
        third = await asking(url, "GET", f"{path}?other=1", headers)  # behind the second: by now that waits
        await until(lambda: _is(computing.begun == 2), what="the other one")
        first.transport.abort()
        third.transport.abort()
        await until(computing.was_left, what="the one that nobody else waits for to end")
        computing.open.set()
        answer = await second
        assert (answer.status_code, answer.headers["x-cache"], computing.begun, computing.left) == (200, "MISS", 2, 1)


async def test_who_stays_away_from_the_middle_of_an_answer_leaves_it(url: httpx.URL, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    ended = asyncio.Event()

    async def endless(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"piece"
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(pieces())

    origin.answer = endless
    assert url.port is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = headers["X-API-Key"]
    writer.write(f"GET /api/v1/usage HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"piece"), 15)
    writer.transport.abort()
    await asyncio.wait_for(ended.wait(), 15)


async def _is(truth: bool) -> bool:
    return truth
