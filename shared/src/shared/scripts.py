"""Scripts run by the store over one connection: the calls of one event-loop turn go out in one write (docs/adr/0024).

A pool gives each caller a connection, a write and a wake-up of its own. Here a call appends to what this turn will write, and its
answer is the next one to come: replies of one connection are in order. What many ask of one script in one turn can be one call.
What was sent and not answered when the connection is lost has failed, for nobody can tell whether it ran; it is never sent twice.
"""

import asyncio
import hashlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.logging import get_logger
from shared.store import PrimaryPool, pool_of
from shared.tasks import end_task, log_failure

__all__ = ["Argument", "Part", "Script", "ScriptConnection", "Shared"]

_DEADLINE_S = 2.0
_MOST_WAITING = 16_384
_MOST_TOGETHER = 64
"""Parts of a call that many share: the store does nothing else meanwhile."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25
_NOT_THE_STORE = ("READONLY", "NOAUTH", "NOREPLICAS")
"""Says one that is a replica now, or another server, or cut off from its replicas, of which one may have been promoted."""
_NOTHING = object()
_log = get_logger("store")

Argument = str | int | bytes


@dataclass(frozen=True, slots=True)
class Script:
    text: str = field(repr=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


class Part:
    """Keys and arguments of a call, packed: who asks the same again and again need not pack them each time."""

    __slots__ = ("arguments", "keys", "numbers")

    def __init__(self, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        self.keys, self.arguments = _packed(*keys), _packed(*arguments)
        self.numbers = len(keys), len(arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """A call that all who ask for it in one turn make together. First come the keys and the arguments that they have in common,
    then each one's own, in the order in which they asked; the script answers with a list, which has an answer for each."""

    script: Script
    first: Part


def _packed(*words: Argument) -> bytes:
    """As in a command, without its beginning, which says how many there are."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub wants a tuple of one
    return packed[packed.index(b"\n") + 1 :]


class _Waiting:
    """A command, or a call where it has a script; `shared` where each of the `answers` is a part of it."""

    __slots__ = ("answers", "deadline", "parts", "script", "shared")

    def __init__(self, deadline: float, parts: list[Part], script: Script | None = None, shared: Shared | None = None) -> None:
        self.deadline = deadline
        self.parts = parts
        self.script = script
        self.shared = shared
        self.answers: list[asyncio.Future[Any]] = []

    def packed(self, *begin: str) -> bytes:
        """`begin` names the script."""
        keys = sum([part.numbers[0] for part in self.parts])
        words = keys + sum([part.numbers[1] for part in self.parts])
        head = b"*%d\r\n%b" % (words + 3, _packed(*begin, keys)) if begin else b"*%d\r\n" % words
        return b"".join([head, *[part.keys for part in self.parts], *[part.arguments for part in self.parts]])


class _Link(asyncio.Protocol):
    """One connection from when it is made until it is lost; `lost` is told once."""

    def __init__(self, deadline_s: float, lost: Callable[["_Link"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._lost = lost
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._loaded: set[str] = set()
        self._waiting: deque[_Waiting] = deque()
        self._unanswered = 0
        self._unsent: list[_Waiting] = []
        self._open: dict[Shared, _Waiting] = {}
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        with suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def command(self, *words: Argument) -> "asyncio.Future[Any]":
        return self._answer_of(self._send([Part([], words)]))

    def call(self, script: Script, part: Part) -> "asyncio.Future[Any]":
        """The answer to come; Unavailable at once when too many wait already."""
        self._check_room()
        self._open.clear()
        return self._answer_of(self._send([part], script))

    def join(self, shared: Shared, part: Part) -> "asyncio.Future[Any]":
        """As `call`. A call by itself ends those that are shared: what is asked after it is run after it."""
        self._check_room()
        waiting = self._open.get(shared)
        if waiting is None or len(waiting.answers) >= _MOST_TOGETHER:
            waiting = self._open[shared] = self._send([shared.first], shared.script, shared)
        waiting.parts.append(part)
        return self._answer_of(waiting)

    def _check_room(self) -> None:
        if self._unanswered >= _MOST_WAITING:
            raise Unavailable("the store is too slow for what is asked of it")

    def _answer_of(self, waiting: _Waiting) -> "asyncio.Future[Any]":
        answer = self._loop.create_future()
        waiting.answers.append(answer)
        self._unanswered += 1
        return answer

    def _send(self, parts: list[Part], script: Script | None = None, shared: Shared | None = None) -> _Waiting:
        waiting = _Waiting(self._loop.time() + self._deadline_s, parts, script, shared)
        self._queue(waiting)
        return waiting

    def _queue(self, waiting: _Waiting) -> None:
        """To be written at the end of this turn."""
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(waiting)
        self._waiting.append(waiting)
        if self._watch is None:
            self._watch = self._loop.call_at(waiting.deadline, self._check)

    def _write(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(map(self._packed, self._unsent)))
        self._unsent.clear()
        self._open.clear()

    def _packed(self, waiting: _Waiting) -> bytes:
        script = waiting.script
        if script is None:
            return waiting.packed()
        if script.sha in self._loaded:
            return waiting.packed("EVALSHA", script.sha)
        self._loaded.add(script.sha)
        return waiting.packed("EVAL", script.text)  # the store knows it from then on

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._take(self._waiting.popleft(), reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop("it does not speak the protocol")

    def _take(self, waiting: _Waiting, reply: Any) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            self._unanswered -= len(waiting.answers)
            for answer, its in zip(waiting.answers, [reply] if waiting.shared is None else reply, strict=True):
                if not answer.done():
                    answer.set_result(its)
        elif waiting.script is not None and str(reply).startswith("NOSCRIPT"):
            self._loaded.discard(waiting.script.sha)  # somebody made it forget
            self._queue(waiting)
        else:
            _log.error("the store refuses", error=str(reply))
            self._fail(waiting, "the store refuses")
            if str(reply).startswith(_NOT_THE_STORE):
                self.drop("it is not the store that it was")

    def _check(self) -> None:
        """The first in the queue is the one that has waited longest."""
        self._watch = None
        if self._waiting:
            if self._waiting[0].deadline <= self._loop.time():
                self.drop("it does not answer")
            else:
                self._watch = self._loop.call_at(self._waiting[0].deadline, self._check)

    def drop(self, why: str) -> None:
        _log.warning("connection to the store dropped", why=why)
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end()

    def _end(self) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            self._fail(self._waiting.popleft(), "the store does not answer")
        self._lost(self)

    def _fail(self, waiting: _Waiting, why: str) -> None:
        self._unanswered -= len(waiting.answers)
        for answer in waiting.answers:
            if not answer.done():
                answer.set_exception(Unavailable(why))


class ScriptConnection:
    """An async context manager. While the store is away a call fails at once, and it is looked for four times a second.

    `url` as `shared.store` reads it. Nobody waits longer than `deadline_s`.
    """

    def __init__(self, url: str, *, deadline_s: float = _DEADLINE_S) -> None:
        # where the store is, and what it asks for; no connection of it is ever opened
        self._pool = pool_of(url)
        self._server = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._deadline_s = deadline_s
        self._link: _Link | None = None
        self._gone = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Returns whether or not the store was reached."""
        await self._connect()
        self._keeping = asyncio.create_task(self._keep(), name="store connection")
        self._keeping.add_done_callback(log_failure)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            await end_task(self._keeping)
        if self._link is not None:
            self._link.close()
        await self._pool.aclose()

    @property
    def connected(self) -> bool:
        return self._link is not None

    def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "asyncio.Future[Any]":
        """To be awaited: integers, bytes and lists, as the script answers. Unavailable, also at once."""
        return self._linked().call(script, Part(keys, arguments))

    def join(self, shared: Shared, part: Part) -> "asyncio.Future[Any]":
        """As `call`: one's own part of a call, and of its answer."""
        return self._linked().join(shared, part)

    def _linked(self) -> _Link:
        if self._link is None:
            raise Unavailable("the store does not answer")
        return self._link

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            if self._link is not None:
                pause_s = _FIRST_PAUSE_S
                await self._gone.wait()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            await self._connect()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                link = await self._open()
                try:
                    await self._introduce(link)
                except BaseException:
                    link.close()
                    raise
        except (OSError, RedisError, Unavailable):  # TimeoutError is an OSError
            return
        self._gone.clear()
        self._link = link

    async def _open(self) -> _Link:
        loop, server = asyncio.get_running_loop(), self._server

        def link() -> _Link:
            return _Link(self._deadline_s, self._lost)

        if isinstance(server, UnixDomainSocketConnection):
            return (await loop.create_unix_connection(link, server.path))[1]
        tls = server.ssl_context.get() if isinstance(server, SSLConnection) else None
        host, port = server.host, server.port
        if isinstance(self._pool, PrimaryPool):
            host, port = await self._pool.get_master_address()  # type: ignore[no-untyped-call]
        return (await loop.create_connection(link, host, port, ssl=tls))[1]

    async def _introduce(self, link: _Link) -> None:
        server = self._server
        if server.password:
            await link.command("AUTH", *([server.username] if server.username else []), server.password)
        if server.db:
            await link.command("SELECT", server.db)

    def _lost(self, link: _Link) -> None:
        if self._link is link:
            self._link = None
            self._gone.set()
