"""Reads that are not in the cache, of callers who are known: answered without ASGI, as by the long way."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.api import settling
from gateway.app import create_app
from gateway.domain.requests import RequestRecord
from shared.at_once import AtOnce, Peer, Soon, Turn
from shared.events import EventBus
from shared.heads import Head
from shared.ids import new_id
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.http_server import serving
from tests.support.poll import until

Answering = Callable[[Request], Awaitable[Response]]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LONG = bytes(range(256)) * 1024


@dataclass
class Served:
    """A gateway on a socket; `soon` counts what was answered without ASGI, `records` and `lines` are what was told."""

    app: FastAPI
    client: httpx.AsyncClient
    soon: int = 0
    records: list[RequestRecord] = field(default_factory=list)
    lines: list[tuple[str, str, int, bool]] = field(default_factory=list)

    def forget(self) -> None:
        self.soon = 0
        self.records.clear()
        self.lines.clear()

    async def known(self, headers: Mapping[str, str]) -> None:
        """Once whom these credentials stand for is."""
        await self.client.get("/api/v1/symbols", headers=headers)

    async def both(self, path: str, headers: Mapping[str, str]) -> tuple[httpx.Response, httpx.Response]:
        """The answer without ASGI, and that of the long way, which one takes that closes its connection."""
        before = self.soon
        quick = await self.client.get(path, headers=headers)
        assert self.soon == before + 1
        slow = await self.client.get(path, headers={**headers, "Connection": "close"})
        assert self.soon == before + 1
        return quick, slow


@pytest.fixture
async def served(
    redis: Redis,
    bus: EventBus,
    origin: Origin,
    origin_url: str,
    redis_url: str,
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Served]:
    app = create_app(settings_for(origin_url, redis_url, nats_url, hsts_s=600, upstream_timeout_s=1.0))
    answer_at_once = app.state.at_once

    def watched(head: Head, peer: Peer, turn: Turn) -> AtOnce | Soon | None:
        answer: AtOnce | Soon | None = answer_at_once(head, peer, turn)
        found.soon += answer is not None
        return answer

    def logged(method: str, path: str, status: int, _seconds: float, *, quiet: bool) -> None:
        found.lines.append((method, path, status, quiet))

    def enter(ledger: settling.Ledger, exchange: Any, at: Any, began: float) -> None:
        entered(ledger, exchange, at, began)
        found.records.append(exchange.record(at, 0.0))

    entered = settling.Ledger.enter
    app.state.at_once = watched
    monkeypatch.setattr(settling, "log_request", logged)
    monkeypatch.setattr(settling.Ledger, "enter", enter)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        found = Served(app, client)
        headers, _ = origin.new_person("wide")

        async def keeps() -> bool:
            return (await client.get("/api/v1/symbols", headers=headers)).headers["x-cache"] == "MISS"

        await until(keeps, what="the cache is in use: the gateway follows the market")
        found.forget()
        origin.calls.clear()
        yield found


def told(answer: httpx.Response) -> dict[str, str]:
    """All fields, none of which came twice, but for what is another's each time."""
    fields = dict(answer.headers.multi_items())
    assert len(fields) == len(answer.headers.multi_items())
    changing = {"x-request-id", "ratelimit", "connection", "retry-after"}
    return {name: value for name, value in fields.items() if name not in changing}


async def untagged(_request: Request) -> Response:
    headers = {
        "ETag": '"v1"',
        "X-Own": "field",
        "Cache-Control": "private",
        "Vary": "Accept",
        "Connection": "x-hop",
        "X-Hop": "1",
    }
    return JSONResponse({"a": 1}, headers=headers)


async def unknown(_request: Request) -> Response:
    return JSONResponse({"detail": "none"}, 404, media_type="application/problem+json")


async def failing(_request: Request) -> Response:
    return Response(b"oh", 500)


async def empty(_request: Request) -> Response:
    return Response(status_code=204)


async def long(_request: Request) -> Response:
    return Response(LONG)


async def in_chunks(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            await asyncio.sleep(0)
            yield b"piece %d" % number

    return StreamingResponse(pieces())


async def never(_request: Request) -> Response:
    await asyncio.sleep(60)
    return Response()


@pytest.mark.parametrize("answer", [untagged, unknown, failing, empty, long, in_chunks, never], ids=lambda one: one.__name__)
@pytest.mark.parametrize("tier", ["wide", "many", "tiny"])
async def test_it_is_the_answer_of_the_long_way(served: Served, origin: Origin, answer: Answering, tier: str) -> None:
    headers, person = origin.new_person(tier)
    await served.known(headers)
    origin.answer = answer
    served.forget()
    quick, slow = await served.both("/api/v1/bars/AAPL?b=2&a=1", headers)
    assert (quick.status_code, told(quick)) == (slow.status_code, told(slow))
    if answer is never:
        documents = [json.loads(each.content) for each in (quick, slow)]
        assert [document.pop("request_id") for document in documents] == [each.headers["x-request-id"] for each in (quick, slow)]
        assert documents[0] == documents[1]
    else:
        assert quick.content == slow.content
    names = [sorted(name for name, _ in each.headers.multi_items() if name != "connection") for each in (quick, slow)]
    assert names[0] == names[1]
    first, second = (record._replace(request_id="", at=served.records[0].at) for record in served.records)
    assert first == second
    assert (first.caller.user_id, first.units, first.call.route) == (person["user_id"], 1, "/api/v1/bars")
    assert [record.request_id for record in served.records] == [quick.headers["x-request-id"], slow.headers["x-request-id"]]
    assert served.lines == [("GET", "/api/v1/bars/AAPL", quick.status_code, False)] * 2


@pytest.mark.parametrize("sent", [{}, {"If-None-Match": '"v1"'}, {"If-None-Match": '"other"'}, {"X-Request-ID": "mine"}], ids=str)
@pytest.mark.parametrize("is_tagged", [True, False], ids=["for all", "for one"])
async def test_a_client_is_not_given_what_it_has(
    served: Served, origin: Origin, market: Market, sent: dict[str, str], is_tagged: bool
) -> None:
    headers, _ = origin.new_person("wide")
    path = f"/api/v1/bars/{market.symbol}?n="

    async def is_kept() -> bool:
        return (await served.client.get(f"{path}warm", headers=headers)).headers["x-cache"] == "HIT"

    await until(is_kept, what="the market's facts")
    if not is_tagged:
        origin.answer = untagged
    quick = await served.client.get(f"{path}{new_id()}", headers={**headers, **sent})
    slow = await served.client.get(f"{path}{new_id()}", headers={**headers, **sent, "Connection": "close"})
    assert quick.status_code == (304 if sent.get("If-None-Match") == '"v1"' else 200)
    assert (quick.status_code, told(quick)) == (slow.status_code, told(slow))
    assert quick.headers["x-cache"] == "MISS"
    assert (quick.headers["x-request-id"] == "mine") == ("X-Request-ID" in sent)


async def test_its_service_is_asked_as_by_the_long_way(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.known(headers)
    sent = {
        "Accept": "text/csv",
        "X-Request-ID": "mine",
        "traceparent": TRACE,
        "tracestate": "a=b",
        "X-Kalpi-Principal": "-",
    }
    seen = []
    for path in ("/api/v1/bars/AAPL?b=2&a=%20", "/api/v1/bars/AAPL?", "/api/v1/bars/AAPL"):
        origin.calls.clear()
        await served.both(path, {**headers, **sent})
        quick, slow = ({name: request.headers.getlist(name) for name in request.headers} for request in origin.calls)
        for one in (quick, slow):
            trace, state = one.pop("traceparent"), one.pop("tracestate")
            assert (trace[0][:36], state) == (TRACE[:36], ["a=b"])
            assert 0 < int(one.pop("x-kalpi-deadline-ms")[0]) <= 1000
            one.pop("x-kalpi-principal")
        assert quick == slow
        assert (quick["accept"], quick["x-request-id"]) == (["text/csv"], ["mine"])
        envelope = origin.envelope("data-service")
        seen.append([(request.method, request.scope["raw_path"], request.scope["query_string"]) for request in origin.calls])
        assert envelope.client_ip == "127.0.0.1"
    assert [first for first, _ in seen] == [second for _, second in seen]


async def test_without_a_trace_of_its_client_it_begins_one(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.known(headers)
    origin.calls.clear()
    await served.both("/api/v1/bars/AAPL", headers)
    traces = [request.headers["traceparent"].split("-")[1] for request in origin.calls]
    assert len(set(traces)) == 2


async def test_who_is_over_his_limit_is_refused_as_by_the_long_way(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("many")
    await served.known(headers)
    for _ in range(12):
        await served.client.get("/api/v1/bars/AAPL", headers=headers)
    origin.calls.clear()
    quick, slow = await served.both("/api/v1/bars/AAPL", headers)
    assert (quick.status_code, told(quick)) == (429, told(slow))
    assert [record.units for record in served.records[-2:]] == [0, 0]
    assert origin.calls == []


async def test_an_answer_that_breaks_off_ends_the_connection(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.known(headers)

    async def breaking(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield LONG
            raise ConnectionError

        return StreamingResponse(pieces())

    origin.answer = breaking
    for more in ({}, {"Connection": "close"}):
        with pytest.raises(httpx.RemoteProtocolError):
            await served.client.get("/api/v1/bars/AAPL", headers={**headers, **more})
    assert served.soon == 1
    assert [record.call.status for record in served.records[-2:]] == [200, 200]


async def test_what_a_known_caller_does_not_wait_for_is_taken_from_its_service(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("tiny")
    await served.known(headers)
    begun, left = asyncio.Event(), asyncio.Event()

    async def computing(request: Request) -> Response:
        begun.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()
        return Response()

    origin.answer = computing
    address = served.client.base_url
    _reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET /api/v1/bars/AAPL HTTP/1.1\r\nHost: x\r\nX-API-Key: {headers['X-API-Key']}\r\n\r\n".encode())
    await asyncio.wait_for(begun.wait(), 10)
    assert served.soon == 1
    writer.transport.abort()
    await asyncio.wait_for(left.wait(), 10)

    async def is_recorded() -> bool:
        return served.records[-1].call.status == 499

    await until(is_recorded, what="its record")
    origin.answer = untagged

    async def has_a_slot_again() -> bool:
        return (await served.client.get("/api/v1/bars/MSFT", headers=headers)).status_code == 200

    await until(has_a_slot_again, what="the only slot of its caller")
