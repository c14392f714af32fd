"""Scripts run by the store over one connection: the calls of one event-loop turn go out in one write (docs/adr/0024).

A pool gives each caller a connection, a write and a wake-up of its own. Here a call appends to what this turn will write, and its
answer is the next one to come: replies of one connection are in order. What was sent and not answered when the connection is lost
has failed, for nobody can tell whether it ran; it is never sent twice.
"""

import asyncio
import hashlib
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from shared.errors import Unavailable
from shared.logging import get_logger
from shared.tasks import end_task, log_failure

__all__ = ["Argument", "Call", "Script", "ScriptConnection"]

_DEADLINE_S = 2.0
_MOST_WAITING = 16_384
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25
_NOTHING = object()
_log = get_logger("store")

Argument = str | int | bytes


@dataclass(frozen=True, slots=True)
class Script:
    text: str = field(repr=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


class Call:
    """A script with its keys and arguments, packed: one that is made again and again need not be packed each time."""

    __slots__ = ("arguments", "keys", "packed", "script")

    def __init__(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.packed = _packed("EVALSHA", script.sha, len(keys), *keys, *arguments)


class _Waiting(NamedTuple):
    """`call` is None for a command."""

    answer: "asyncio.Future[Any]"
    deadline: float
    call: Call | None = None


def _packed(*words: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub wants a tuple of one
    return packed


class _Link(asyncio.Protocol):
    """One connection from when it is made until it is lost; `lost` is told once."""

    def __init__(self, deadline_s: float, lost: Callable[["_Link"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._lost = lost
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._loaded: set[str] = set()
        self._waiting: deque[_Waiting] = deque()
        self._written: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        with suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def command(self, *words: Argument) -> "asyncio.Future[Any]":
        return self._send(_packed(*words), _Waiting(self._loop.create_future(), self._loop.time() + self._deadline_s))

    def run(self, call: Call) -> "asyncio.Future[Any]":
        """The answer to come; Unavailable at once when too many wait already."""
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable("the store is too slow for what is asked of it")
        waiting = _Waiting(self._loop.create_future(), self._loop.time() + self._deadline_s, call)
        if call.script.sha in self._loaded:
            return self._send(call.packed, waiting)
        self._loaded.add(call.script.sha)
        return self._in_full(call, waiting)

    def _in_full(self, call: Call, waiting: _Waiting) -> "asyncio.Future[Any]":
        """The store knows it from then on."""
        return self._send(_packed("EVAL", call.script.text, len(call.keys), *call.keys, *call.arguments), waiting)

    def _send(self, packed: bytes, waiting: _Waiting) -> "asyncio.Future[Any]":
        if not self._written:
            self._loop.call_soon(self._write)
        self._written.append(packed)
        self._waiting.append(waiting)
        if self._watch is None:
            self._watch = self._loop.call_at(waiting.deadline, self._check)
        return waiting.answer

    def _write(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._written))
        self._written.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._take(self._waiting.popleft(), reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop("it does not speak the protocol")

    def _take(self, waiting: _Waiting, reply: Any) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            if not waiting.answer.done():
                waiting.answer.set_result(reply)
        elif waiting.call is not None and str(reply).startswith("NOSCRIPT"):
            self._in_full(waiting.call, waiting)  # somebody made it forget
        else:
            _log.error("the store refuses", error=str(reply))
            self._fail(waiting, "the store refuses")
            if str(reply).startswith(("READONLY", "NOAUTH")):
                self.drop("it is not the store that it was")  # a replica now, or another

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

    @staticmethod
    def _fail(waiting: _Waiting, why: str) -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(Unavailable(why))


class ScriptConnection:
    """An async context manager. While the store is away a call fails at once, and it is looked for four times a second.

    `url` as redis-py reads it (redis://, rediss://, unix://, with password and database). Nobody waits longer than `deadline_s`.
    """

    def __init__(self, url: str, *, deadline_s: float = _DEADLINE_S) -> None:
        self._server = ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
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

    @property
    def connected(self) -> bool:
        return self._link is not None

    def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "asyncio.Future[Any]":
        """To be awaited: integers, bytes and lists, as the script answers. Unavailable, also at once."""
        return self.run(Call(script, keys, arguments))

    def run(self, call: Call) -> "asyncio.Future[Any]":
        """As `call`, of one that was packed before."""
        if self._link is None:
            raise Unavailable("the store does not answer")
        return self._link.run(call)

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
        except (OSError, Unavailable):  # TimeoutError is an OSError
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
        return (await loop.create_connection(link, server.host, server.port, ssl=tls))[1]

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
