"""What the HTTP server refuses before any application sees it, and how a service process starts and stops."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from shared import strict_protocol
from shared.at_once import WHOLE, AtOnce, Peer, Soon, Turn
from shared.heads import Head, Heads
from shared.settings import EX_CONFIG
from shared.strict_protocol import StrictProtocol
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says hello; at /echo it begins at once to answer, and goes on once it has the body, as a proxy does."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/echo":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while (await receive()).get("more_body"):
        pass
    if scope["path"].startswith("/whole"):
        answer = AtOnce(200, b"content-length: 5\r\nx-path: %b\r\n" % scope["path"].encode(), b"whole")
        if scope["extensions"][WHOLE]["answer"](scope, answer):
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"pieces"})
    elif scope["path"] != "/echo":
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    async with serving(app) as url:
        parts = httpx.URL(url)
        assert parts.port is not None
        yield parts.host, parts.port


async def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(65536), 10)
    writer.close()
    return answer


HOST = b"Host: localhost\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: dict[str, str]
    problem: dict[str, Any]

    @classmethod
    def of(cls, received: bytes) -> "Answer":
        """AssertionError for an answer that is anything but one whole problem."""
        head, _, body = received.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        version, status, reason = line.split(" ", 2)
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        assert version == "HTTP/1.1"
        assert len(headers) == len(fields), "no field twice"
        assert int(headers["content-length"]) == len(body)
        return cls(int(status), reason, headers, json.loads(body))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\n" + b"Host: localhost\n\n", 400),
        (b"NONSENSE\r\n\r\n", 400),
    ],
    ids=["plain", "no-host", "two-hosts", "many-headers", "long-header", "long-url", "cl-te", "cl-cl", "bare-lf", "nonsense"],
)
async def test_only_well_formed_requests_pass(address: tuple[str, int], request_bytes: bytes, status: int) -> None:
    assert (await exchange(address, request_bytes)).startswith(b"HTTP/1.1 %d" % status)


REFUSED = {
    "no-host": (b"GET /api/v1/symbols?key=s HTTP/1.1\r\n\r\n", 400, "/api/v1/symbols"),
    "two-hosts": (b"GET /api HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "/api"),
    "many-headers": (b"GET /api HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431, "/api"),
    "long-header": (b"GET /api HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431, "/api"),
    "long-url": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, ""),
    "many-parameters": (b"GET /?" + b"&" * 256 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "/"),
    "bare-lf": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400, "/"),
    "bad-chunk": (b"POST /api HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400, "/api"),
    "nonsense": (b"NONSENSE\r\n\r\n", 400, ""),
}


@pytest.mark.parametrize(("request_bytes", "status", "instance"), REFUSED.values(), ids=REFUSED.keys())
async def test_every_refusal_is_one_problem_with_a_request_id_and_closes(
    address: tuple[str, int], request_bytes: bytes, status: int, instance: str
) -> None:
    answer = Answer.of(await exchange(address, request_bytes))
    phrase = HTTPStatus(status).phrase
    assert (answer.status, answer.reason) == (status, phrase)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    request_id = answer.headers["x-request-id"]
    detail = answer.problem.pop("detail")
    assert detail
    assert answer.problem == {
        "type": f"urn:kalpi:problem:{phrase.lower().replace(' ', '-')}",
        "title": phrase,
        "status": status,
        "instance": instance,
        "request_id": request_id,
    }


async def test_a_refusal_keeps_the_request_id_that_was_sent_and_invents_one_for_another(address: tuple[str, int]) -> None:
    sane = Answer.of(await exchange(address, b"GET / HTTP/1.1\r\nX-Request-ID: mine-1\r\n\r\n"))
    insane = Answer.of(await exchange(address, b"GET / HTTP/1.1\r\nX-Request-ID: a b\r\n\r\n"))
    assert sane.headers["x-request-id"] == sane.problem["request_id"] == "mine-1"
    assert insane.headers["x-request-id"] == insane.problem["request_id"] not in {"", "a b"}


async def test_nonsense_after_a_request_is_refused_under_an_id_of_its_own(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /first HTTP/1.1\r\nX-Request-ID: first\r\n" + HOST + b"\r\n")
    assert b"hello" in await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    writer.write(b"\x00\x00\r\n\r\n")
    refused = Answer.of(await asyncio.wait_for(reader.read(), 10))
    writer.close()
    assert (refused.status, refused.problem["instance"]) == (400, "")
    assert refused.headers["x-request-id"] != "first"


async def test_an_answer_that_has_begun_is_cut_off_and_nothing_is_put_into_it(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"begun\r\n"), 10)
    writer.write(b"nonsense\r\n")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_refusal_is_not_taken_for_the_answer_to_the_request_before_it() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begun.set()
            await receive()
            await receive()  # the end of the connection
            done.set()

    async with serving(slow) as url:
        parts = httpx.URL(url)
        assert parts.port is not None
        for refused in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00\x00\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n",
        ):
            begun.clear()
            done.clear()
            reader, writer = await asyncio.open_connection(parts.host, parts.port)
            writer.write(b"POST /first HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
            await asyncio.wait_for(begun.wait(), 10)
            writer.write(refused)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            await asyncio.wait_for(done.wait(), 10)
            writer.close()


async def test_a_field_without_end_is_refused_long_before_its_time_is_over(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")

    async def pour() -> None:
        while True:
            writer.write(b"y" * 65_536)
            await writer.drain()

    pouring = asyncio.create_task(pour())
    status_line = await asyncio.wait_for(reader.readline(), 5)
    pouring.cancel()
    writer.transport.abort()
    await asyncio.gather(pouring, return_exceptions=True)
    assert status_line.startswith(b"HTTP/1.1 431 ")


async def test_requests_before_it_are_no_part_of_a_header_that_comes_in_pieces(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    many = b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 60_000 + b"\r\n\r\n"
    writer.write(many * 3 + b"GET / HTTP/1.1\r\n")
    for _ in range(3):
        await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    for piece in (b"Host: ", b"localhost", b"\r\n", b"\r\n"):
        writer.write(piece)
        await asyncio.sleep(0)
    assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    writer.close()


async def test_half_a_header_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_protocol, "HEADER_DEADLINE_S", 0.1)
    async with serving(app) as url:
        port = httpx.URL(url).port
        assert port is not None
        answer = Answer.of(await exchange(("127.0.0.1", port), b"GET / HTTP/1.1\r\nX-Request-ID: slow\r\nHo"))
    assert (answer.status, answer.headers["x-request-id"]) == (408, "slow")
    assert answer.problem["type"] == "urn:kalpi:problem:request-timeout"


async def test_a_kept_alive_connection_serves_many_requests(address: tuple[str, int]) -> None:
    request = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(3):
        writer.write(request)
        assert b"hello" in await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    writer.close()


class AtOnceApp:
    """Answers `/at-once` so, `/soon` once it is `let`, and says of the rest by which way it came; of `/fails` nothing can be said
    at once, and `/breaks` is a mistake that is made later. `/pieces` comes in messages, the last of them once it is `let`;
    `/stops` and `/fails-late` end before that one. `gone` are those whose client went before they were answered."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(at_once=self.answer, heads=Heads())
        self.asked: list[tuple[bytes, Mapping[bytes, bytes]]] = []
        self.body = b"at once"
        self.let = asyncio.Event()
        self.gone: list[bytes] = []

    async def in_messages(self, target: bytes, turn: Turn) -> None:
        turn.call_when_gone(lambda: self.gone.append(target))
        send = turn.messages()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-name", b"value")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.let.wait()
        if target == b"/fails-late":
            raise ValueError("a mistake")
        if target == b"/pieces":
            await send({"type": "http.response.body", "body": b"last"})
        turn.call_when_gone(None)

    async def later(self, body: bytes) -> AtOnce:
        await self.let.wait()
        if not body:
            raise ValueError("a mistake")
        return AtOnce(200, b"content-length: %d\r\n" % len(body), body)

    def answer(self, head: Head, _peer: Peer, turn: Turn) -> AtOnce | Soon | None:
        target = head.target
        if target in {b"/pieces", b"/stops", b"/fails-late"}:
            return self.in_messages(target, turn)
        if target in {b"/soon", b"/breaks"}:
            return self.later(b"soon" if target == b"/soon" else b"")
        self.asked.append((target, head.sent))
        if target == b"/fails":
            raise ValueError("a mistake")
        lines = b"content-length: %d\r\n" % len(self.body)
        return AtOnce(200, lines, self.body) if target == b"/at-once" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await PlainTextResponse("by messages")(scope, receive, send)


def get(target: str, more: str = "", method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: x\r\n{more}\r\n".encode()


@pytest.fixture
async def at_once() -> AsyncIterator[tuple[AtOnceApp, tuple[str, int]]]:
    app = AtOnceApp()
    async with serving(app) as url:
        yield app, ("127.0.0.1", httpx.URL(url).port or 0)


async def test_what_can_be_answered_at_once_is_and_the_rest_goes_by_messages(
    at_once: tuple[AtOnceApp, tuple[str, int]],
) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    for target, body in (
        ("/at-once", b"at once"),
        ("/other", b"by messages"),
        ("/fails", b"by messages"),
        ("/at-once", b"at once"),
    ):
        writer.write(get(target, "X-Name: Value\r\n"))
        received = await asyncio.wait_for(reader.readuntil(body), 10)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert app.asked[0] == (b"/at-once", {b"host": b"x", b"x-name": b"Value"})
    writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/at-once", method="POST"),
        get("/at-once", method="HEAD"),
        get("/at-once", "Connection: close\r\n"),
        get("/at-once", "Connection: keep-alive\r\n", version="1.0"),
        get("/at-once", "Content-Length: 3\r\n") + b"abc",
        get("/at-once", "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        get("/at-once", "Expect: 100-continue\r\nContent-Length: 0\r\n"),
        get("/at-once", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        get("/at-once", "Host: y\r\n"),
        get("/at-once", "X: y\r\n" * 100),
        get("/at-once", "X: y\r\n" * 2),
    ],
)
async def test_only_a_plain_get_is_answered_at_once(at_once: tuple[AtOnceApp, tuple[str, int]], request_bytes: bytes) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request_bytes)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert not app.asked
    writer.close()


async def test_requests_sent_together_are_answered_in_their_order(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    _, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    # the first is answered at once, and what stands behind the second has to wait for it
    writer.write(b"".join(map(get, ["/at-once", "/other", "/at-once", "/at-once"])))
    assert (await asyncio.wait_for(reader.readuntil(b"at once"), 10)).count(b"HTTP/1.1") == 1
    for _ in range(3):
        assert (await asyncio.wait_for(reader.readuntil(b"by messages"), 10)).count(b"HTTP/1.1") == 1
    writer.write(get("/at-once"))
    assert (await asyncio.wait_for(reader.readuntil(b"at once"), 10)).count(b"HTTP/1.1") == 1
    writer.close()


async def test_what_stands_behind_an_answer_that_comes_soon_waits_for_it(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"".join(map(get, ["/at-once", "/soon", "/at-once", "/soon", "/other"])))
    assert (await asyncio.wait_for(reader.readuntil(b"at once"), 10)).count(b"HTTP/1.1") == 1
    app.let.set()
    assert (await asyncio.wait_for(reader.readuntil(b"soon"), 10)).count(b"HTTP/1.1") == 1
    for _ in range(3):
        assert (await asyncio.wait_for(reader.readuntil(b"by messages"), 10)).count(b"HTTP/1.1") == 1
    writer.write(get("/soon"))
    assert (await asyncio.wait_for(reader.readuntil(b"soon"), 10)).count(b"HTTP/1.1") == 1
    writer.close()


async def test_an_answer_that_was_to_come_soon_and_does_not_is_a_problem(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    app.let.set()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/breaks"))
    received = await asyncio.wait_for(reader.read(), 10)
    assert received.startswith(b"HTTP/1.1 500 ")
    assert b"urn:kalpi:problem:internal" in received
    writer.close()


async def test_who_goes_away_before_an_answer_that_comes_soon_is_no_trouble(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    for _ in range(3):
        _reader, writer = await asyncio.open_connection(*address)
        writer.write(get("/soon") * 2)
        await writer.drain()
        writer.transport.abort()
    app.let.set()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/soon"))
    assert (await asyncio.wait_for(reader.readuntil(b"soon"), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_what_is_no_http_behind_an_answer_that_comes_soon_ends_the_connection_and_answers_nothing(
    at_once: tuple[AtOnceApp, tuple[str, int]],
) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/soon") + b"nonsense\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    app.let.set()
    writer.close()


async def test_an_answer_that_does_not_come_whole_goes_out_in_messages(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/pieces") + get("/at-once"))
    head = (await asyncio.wait_for(reader.readuntil(b"first"), 10)).lower()
    assert head.startswith(b"http/1.1 200 ")
    assert b"\r\nx-name: value\r\n" in head
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    app.let.set()
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10) == b"\r\n4\r\nlast\r\n0\r\n\r\n"
    assert b"by messages" in await asyncio.wait_for(reader.readuntil(b"messages"), 10), "what stood behind it"
    writer.write(get("/at-once"))
    assert await asyncio.wait_for(reader.readuntil(b"at once"), 10)
    assert app.gone == []
    writer.close()


@pytest.mark.parametrize("target", ["/stops", "/fails-late"])
async def test_an_answer_that_stops_in_the_middle_ends_the_connection(
    at_once: tuple[AtOnceApp, tuple[str, int]], target: str
) -> None:
    app, address = at_once
    app.let.set()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get(target) + get("/at-once"))
    received = await asyncio.wait_for(reader.read(), 10)
    assert received.endswith(b"\r\n5\r\nfirst\r\n")
    writer.close()


async def test_what_comes_soon_is_told_that_its_client_has_gone(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get("/pieces"))
    await asyncio.wait_for(reader.readuntil(b"first"), 10)
    writer.transport.abort()

    async def told() -> bool:
        return app.gone == [b"/pieces"]

    await until(told, what="the end of its connection")
    app.let.set()


async def test_a_client_that_does_not_read_is_not_answered_without_end(at_once: tuple[AtOnceApp, tuple[str, int]]) -> None:
    app, address = at_once
    app.body = bytes(1 << 20)
    _reader, writer = await asyncio.open_connection(*address, limit=1024)
    requests = 200
    writer.write(get("/at-once") * requests)

    async def noticed() -> bool:
        return bool(app.asked)

    await until(noticed, what="the first requests")
    assert len(app.asked) < 20, "the rest waits until somebody reads"
    writer.transport.abort()


class Coming:
    """A task that ends when it is told to."""

    answer: AtOnce
    then: Callable[["Coming"], None]

    def add_done_callback(self, then: Callable[["Coming"], None]) -> None:
        self.then = then

    def end(self, answer: AtOnce) -> None:
        self.answer = answer
        self.then(self)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def result(self) -> AtOnce:
        return self.answer


class Later:
    """A loop whose time passes when it is told to; `coming` is the last task of it."""

    coming: Coming

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def create_task(self, soon: Soon) -> Coming:
        soon.close()
        self.coming = Coming()
        return self.coming

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> SimpleNamespace:
        timer = (self.now + seconds, call, arguments)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def call_soon(self, call: Callable[..., None]) -> None:
        self.call_later(0, call)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer[0] <= self.now]:
            self.timers.remove(timer)
            _, call, arguments = timer
            call(*arguments)


class Wire:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.written.append(b"".join(pieces))

    def write_eof(self) -> None:
        self.written.append(b"")

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def connected() -> tuple[StrictProtocol, Later, Wire]:
    """A connection to an app that answers at once, kept for 75 s."""
    config = uvicorn.Config(AtOnceApp(), http=StrictProtocol, ws="none", log_config=None, timeout_keep_alive=75)
    config.load()
    loop, wire = Later(), Wire()
    protocol = StrictProtocol(config, ServerState(), {}, cast("asyncio.AbstractEventLoop", loop))
    protocol.connection_made(cast("asyncio.Transport", wire))
    return protocol, loop, wire


def test_a_connection_is_kept_for_as_long_as_it_is_used(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    protocol, loop, wire = connected
    for _ in range(10):
        protocol.data_received(get("/at-once"))
        loop.pass_(50)
        assert not wire.closed
    assert len(wire.written) == 10
    loop.pass_(24.9)
    assert not wire.closed
    loop.pass_(0.1)
    assert wire.closed


def test_a_connection_is_kept_from_its_last_answer_on(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    protocol, loop, wire = connected
    protocol.data_received(get("/at-once"))
    protocol.data_received(get("/soon"))
    loop.pass_(60)
    loop.coming.end(AtOnce(200, b"content-length: 0\r\n", b""))
    loop.pass_(15)
    loop.pass_(59.9)
    assert not wire.closed
    loop.pass_(0.1)
    assert wire.closed


def test_a_connection_has_one_timer_and_leaves_none(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    protocol, loop, _wire = connected
    for _ in range(100):
        protocol.data_received(get("/at-once"))
        loop.pass_(0)
    assert len(loop.timers) == 1
    protocol.connection_lost(ConnectionResetError())
    assert not loop.timers


def test_an_answer_that_waits_for_the_end_of_the_turn_is_sent_before_its_connection_closes(
    connected: tuple[StrictProtocol, Later, Wire],
) -> None:
    protocol, loop, wire = connected
    protocol.data_received(get("/at-once"))
    assert not wire.written
    protocol.shutdown()
    assert wire.written[0].startswith(b"HTTP/1.1 200 ")
    loop.pass_(1)
    assert wire.closed


def test_an_answer_that_waits_is_sent_to_a_client_that_says_no_more(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    protocol, _loop, wire = connected
    protocol.data_received(get("/at-once"))
    protocol.eof_received()
    assert wire.written[0].startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_waits_is_sent_before_the_refusal_of_what_follows(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    protocol, _loop, wire = connected
    protocol.data_received(get("/at-once") + b"nonsense\r\n\r\n")
    assert [written[:12] for written in wire.written] == [b"HTTP/1.1 200", b"HTTP/1.1 400", b""]


def test_a_connection_that_says_nothing_is_given_up_on(connected: tuple[StrictProtocol, Later, Wire]) -> None:
    _protocol, loop, wire = connected
    loop.pass_(10)
    refusal, end = wire.written
    assert refusal.startswith(b"HTTP/1.1 408 ")
    assert end == b""
    loop.pass_(2)
    assert wire.closed


def bodies_of(answers: bytes) -> list[bytes]:
    """Of answers that say their length."""
    found = []
    while answers:
        header, _, rest = answers.partition(b"\r\n\r\n")
        length = next(int(line[16:]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length: "))
        found.append(rest[:length])
        answers = rest[length:]
    return found


async def all_of(address: tuple[str, int], sent: bytes) -> bytes:
    """What comes until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


CLOSE = b"Connection: close\r\n"


async def test_an_answer_that_is_whole_goes_in_one_write_and_keeps_the_connection(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    for number in range(3):
        writer.write(b"GET /whole/%d HTTP/1.1\r\n%b\r\n" % (number, HOST))
        header = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert header.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"x-path: /whole/%d\r\n" % number in header
        assert b"connection:" not in header.lower()
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"whole"
    writer.write(b"GET /whole HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE))
    last = await asyncio.wait_for(reader.read(), 10)
    assert b"\r\nconnection: close\r\n" in last
    assert last.endswith(b"\r\n\r\nwhole")
    writer.close()


async def test_whole_answers_keep_their_order_among_others(address: tuple[str, int]) -> None:
    ask = b"".join(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HOST) for path in (b"/whole", b"/", b"/whole", b"/whole", b"/"))
    last = b"GET /whole HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE)
    bodies = bodies_of(await all_of(address, ask + last))
    # while others wait behind it, an answer goes in messages
    assert [body if body == b"hello" else b"." for body in bodies] == [b".", b"hello", b".", b".", b"hello", b"."]
    assert set(bodies) <= {b"hello", b"whole", b"pieces"}
    assert bodies[-1] == b"whole"


async def test_head_is_answered_without_the_body_of_a_whole_answer(address: tuple[str, int]) -> None:
    answer = await all_of(address, b"HEAD /whole HTTP/1.1\r\n%b%b\r\n" % (HOST, CLOSE))
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 6\r\n" in answer


SCRIPT = """
import asyncio, sys
from contextlib import asynccontextmanager
from fastapi import APIRouter
from shared.server import serve
from shared.service import Shell, service_app
from shared.settings import Port, ServiceSettings, load_settings, service_config

class Settings(ServiceSettings):
    model_config = service_config("EXAMPLE_")
    port: Port = 0
    secret: str

router = APIRouter()

@asynccontextmanager
async def lifespan(app):
    yield

serve("example", load_settings(Settings), lambda s: service_app(
    Shell.of("example", s), lifespan=lifespan, routers=[router], checks={}))
"""


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EXAMPLE_", "KALPI_"))}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        env={**clean, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_process_without_its_settings_names_each_and_ends() -> None:
    process = await start({"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "EXAMPLE_PORT": "70000"})
    _, errors = await process.communicate()
    assert process.returncode == EX_CONFIG
    lines = errors.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["EXAMPLE_PORT", "EXAMPLE_SECRET"]


async def test_a_process_answers_until_it_is_told_to_stop_and_ends_with_0() -> None:
    process = await start({"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "EXAMPLE_SECRET": "s", "EXAMPLE_LOG_LEVEL": "info"})
    assert process.stdout is not None
    log = b""

    async def listening() -> bool:
        nonlocal log
        assert process.stdout is not None
        log += await process.stdout.readline()
        return b"Uvicorn running on" in log

    await until(listening)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0


async def test_who_is_connected_when_a_process_is_told_to_stop_is_answered_and_sent_elsewhere() -> None:
    environment = {"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "EXAMPLE_SECRET": "s", "EXAMPLE_DRAIN_DELAY_S": "0.3"}
    process = await start(environment)
    assert process.stdout is not None
    log = b""

    async def says(what: bytes) -> bool:
        nonlocal log
        assert process.stdout is not None
        log += await process.stdout.readline()
        return what in log

    await until(lambda: says(b"Uvicorn running on"))
    port = int(log.partition(b"127.0.0.1:")[2].split(b" ")[0])
    kept, silent, half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]

    async def asked(of: tuple[asyncio.StreamReader, asyncio.StreamWriter], what: bytes) -> bytes:
        of[1].write(what)
        async with asyncio.timeout(10):
            return (await of[0].readuntil(b"\r\n\r\n")).lower()

    live = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    assert b"connection: close" not in await asked(kept, live)
    half[1].write(live[:20])
    process.send_signal(signal.SIGTERM)
    await until(lambda: says(b'"stopping"'))
    assert b"connection: close" in await asked(kept, live)
    await until(lambda: says(b"Shutting down"))
    for late, what in ((silent, live), (half, live[20:])):
        answer = await asked(late, what)
        assert answer.startswith(b"http/1.1 200")
        assert b"connection: close" in answer
    await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    for _, writer in (kept, silent, half):
        writer.close()
