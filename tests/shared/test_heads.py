"""Heads that come again are not parsed again, which no client can tell."""

import asyncio
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from shared.at_once import AtOnce, Peer, Soon, Turn
from shared.heads import LONGEST, Head, Heads
from shared.strict_protocol import StrictProtocol
from shared.tasks import end_task
from tests.support.poll import until

HEAD = Head(b"/", {})


def kept(heads: Heads, *received: bytes) -> None:
    """Each has come twice."""
    for one in received:
        heads.keep(one, HEAD)
        heads.keep(one, HEAD)


def test_what_comes_once_is_not_kept_and_what_comes_again_is() -> None:
    heads = Heads()
    heads.keep(b"once", HEAD)
    kept(heads, b"again")
    assert heads.find(b"once") is None
    assert heads.find(b"again") is HEAD


def test_what_does_not_come_again_is_forgotten_and_what_does_is_not() -> None:
    heads = Heads()
    kept(heads, b"polled", b"left")
    for _ in range(5):
        heads.turn()
        assert heads.find(b"polled") is HEAD
    assert heads.find(b"left") is None


def test_what_came_once_long_ago_has_not_come() -> None:
    heads = Heads()
    heads.keep(b"seldom", HEAD)
    heads.turn()
    heads.keep(b"seldom", HEAD)
    assert heads.find(b"seldom") is None


async def test_nothing_is_left_in_a_server_that_nobody_asks() -> None:
    heads = Heads()
    kept(heads, b"polled")
    assert len(heads) == 1
    keeping = asyncio.create_task(heads.keep_young(0.01))

    async def is_empty() -> bool:
        return len(heads) == 0

    await until(is_empty)
    await end_task(keeping)


def test_there_are_never_more_than_the_bounds_allow() -> None:
    heads = Heads(most=8)
    kept(heads, *(b"%d" % number for number in range(100)))
    assert len(heads) <= 16
    assert heads.find(b"99") is HEAD
    assert sum(heads.find(b"%d" % number) is not None for number in range(100)) <= 16
    heads = Heads()
    kept(heads, b"x" * LONGEST, b"y" * (LONGEST + 1))
    assert (heads.find(b"x" * LONGEST), heads.find(b"y" * (LONGEST + 1))) == (HEAD, None)


def test_what_is_no_longer_answered_or_was_understood_otherwise_is_forgotten() -> None:
    heads = Heads()
    kept(heads, b"one", b"other")
    heads.forget(b"one")
    assert (heads.find(b"one"), heads.find(b"other")) == (None, HEAD)
    heads.clear()
    assert heads.find(b"other") is None


class App:
    """Answers `/at-once` so, but not while it is flipped, `/soon` a turn later, and all else by messages."""

    def __init__(self, heads: Heads | None) -> None:
        self.state = SimpleNamespace(at_once=self.answer, heads=heads)
        self.flipped = False
        self.asked: list[Head] = []
        self.given: list[bytes] = []

    def answer(self, head: Head, _peer: Peer, _turn: Turn) -> AtOnce | Soon | None:
        self.asked.append(head)
        answer = self.said(head)
        if answer is not None:
            self.given.append(head.target)
        return answer

    def said(self, head: Head) -> AtOnce | Soon | None:
        said = b"%b %b" % (head.target, repr(sorted(head.sent.items())).encode())
        answer = AtOnce(200, b"content-length: %d\r\n" % len(said), said)
        if head.target == b"/flip":
            self.flipped = not self.flipped
        elif head.target == b"/soon":
            return self.later(answer)
        elif head.target == b"/other" or self.flipped:
            return None
        return answer

    async def later(self, answer: AtOnce) -> AtOnce:
        await asyncio.sleep(0)
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        said = f"{scope['method']} {scope['path']} {scope['headers']} {body!r}"
        await PlainTextResponse(said)(scope, receive, send)


class Wire:
    """What a connection has written. It may bring more when it is closed, as under TLS."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        self.write(b"<end>")

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


Chunks = Sequence[tuple[bytes, bool]]
"""What comes, and whether the server has time to answer it before more does."""
_TURNS = 8
"""More of the loop than an answer takes."""
_RANDOM = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


async def answered(app: App, connections: Sequence[Chunks]) -> list[bytes]:
    """On each of the connections, which come one after the other."""
    config = uvicorn.Config(app, http=StrictProtocol, ws="none", log_config=None)
    config.load()
    state, written = ServerState(), []
    for chunks in connections:
        wire = Wire()
        protocol = StrictProtocol(config, state, {}, asyncio.get_running_loop())
        protocol.connection_made(cast("asyncio.Transport", wire))
        for chunk, has_time in chunks:
            protocol.data_received(chunk)
            for _ in range(_TURNS * has_time):
                await asyncio.sleep(0)
        for _ in range(_TURNS * len(chunks)):
            await asyncio.sleep(0)
        written.append(_RANDOM.sub(b"<id>", wire.written) + b"<closed>" * wire.closed)
        protocol.connection_lost(None)
    for task in tuple(state.tasks):
        task.cancel()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    return written


def request(target: str, more: str = "", method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: x\r\n{more}\r\n".encode()


PLAIN = request("/at-once")
REQUESTS = [
    request("/at-once", "X-Name: Value\r\n"),
    request("/soon"),
    request("/other"),
    request("/flip"),
    request("/at-once", "Connection: close\r\n"),
    request("/at-once", version="1.0"),
    request("/at-once", "Connection: keep-alive\r\n", version="1.0"),
    request("/at-once", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
    request("/at-once", "Content-Length: 3\r\n") + b"abc",
    request("/at-once", f"Content-Length: {len(PLAIN)}\r\n", method="POST") + PLAIN,
    request("/at-once", "Transfer-Encoding: chunked\r\n", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
    request("/at-once", method="HEAD"),
    request("/at-once", "Host: y\r\n"),
    PLAIN + b"\r\n",
    b"\r\n" + PLAIN,
    PLAIN + PLAIN,
    PLAIN + PLAIN[:20],
    b"\r\n",
    b"\r",
    b"nonsense\r\n\r\n",
]


@st.composite
def chunks(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Requests of a few kinds, most of them again and again; now and then one is cut."""
    found: list[tuple[bytes, bool]] = []
    for one in draw(st.lists(st.one_of(st.just(PLAIN), st.sampled_from(REQUESTS)), min_size=1, max_size=10)):
        cut = draw(st.one_of(st.just(0), st.integers(0, len(one))))
        found += [(piece, draw(st.booleans())) for piece in (one[:cut], one[cut:]) if piece]
    return found


@given(st.lists(chunks(), min_size=1, max_size=3))
def test_answers_are_the_same_whether_heads_are_kept_or_not(connections: list[Chunks]) -> None:
    keeping, parsing = App(Heads()), App(None)
    assert asyncio.run(answered(keeping, connections)) == asyncio.run(answered(parsing, connections))
    assert keeping.given == parsing.given


def test_a_head_that_comes_a_third_time_is_not_read_again() -> None:
    app = App(Heads())
    asyncio.run(answered(app, [[(PLAIN, False)] * 3, [(PLAIN, False)] * 2]))
    first, second, *again = app.asked
    assert first is not second
    assert again == [second] * 3


def test_a_head_that_is_not_answered_at_once_any_more_goes_by_messages_and_is_read_again() -> None:
    app = App(Heads())
    (said,) = asyncio.run(answered(app, [[(PLAIN, True)] * 3 + [(request("/flip"), True), (PLAIN, True), (PLAIN, True)]]))
    assert said.count(b"GET /at-once ") == 2
    assert len(app.asked) == 7, "once more for the one that was known"
