"""One connection to an instance: one request at a time, its answer as it comes, and how long each step may take."""

import asyncio
from typing import Protocol

from gateway.adapters.http1.answer import Answer, Failure
from gateway.adapters.http1.reading import AnswerReader, Malformed
from gateway.adapters.http1.timers import LazyTimer

__all__ = ["Connection", "Keeper"]

IDLE_S = 15.0
"""How long it is kept for the next request: well below what services keep theirs, so that few are closed under one."""
MOST_HELD = 128 * 1024
"""Bytes of an answer that nobody has taken: beyond, no more is read."""


class Keeper(Protocol):
    """Who gives the connection its requests."""

    def opened(self, connection: "Connection") -> None: ...

    def free(self, connection: "Connection") -> None:
        """Its answer is whole, and it can be used again."""
        ...

    def gone(self, connection: "Connection") -> None:
        """It cannot; told once."""
        ...


class Connection(asyncio.Protocol):
    """`was_used`: it has been asked before."""

    _transport: asyncio.Transport

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._timer = LazyTimer(self._loop, self._time_is_over)
        self._reader = AnswerReader()
        self._answer: Answer | None = None
        self._is_sending = self._is_full = self._is_paused = self._is_gone = False
        self._room: asyncio.Future[None] | None = None
        self._asked = 0

    @property
    def was_used(self) -> bool:
        return self._asked > 1

    @property
    def is_gone(self) -> bool:
        return self._is_gone

    # what whoever asks calls

    def ask(self, method: str, first: bytes, wait_s: float, *, is_all: bool) -> Answer:
        """`first` are the first bytes of the request, or all of them; the others follow by `send`, and then `sent`."""
        answer = Answer(self)
        if self._is_gone:  # as it was handed over
            answer.fail("reset")
            return answer
        self._answer = answer
        self._asked += 1
        self._is_sending = not is_all
        self._reader.expect(answer, is_head=method == "HEAD")
        self._timer.set(self._loop.time() + wait_s)
        self._transport.write(first)
        return answer

    async def send(self, more: bytes) -> None:
        """Returns when there is room for the next bytes, or nobody takes them."""
        if self._is_gone:
            return
        self._transport.write(more)
        if self._is_full and not self._is_gone:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None

    def sent(self) -> None:
        """The whole request."""
        self._is_sending = False

    def rest(self) -> None:
        """The service is not what is waited for."""
        self._timer.clear()

    def abort(self) -> None:
        """At once, whatever is under way."""
        self._end("reset")

    # what its answer calls

    def wait(self, seconds: float) -> None:
        if not self._is_gone:
            self._timer.set(self._loop.time() + seconds)
            self._resume()

    # what the loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of every stream
        self._transport = transport
        self._keeper.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._is_gone:
            return
        answer = self._answer
        was_body = answer is not None and answer.has_head
        try:
            self._reader.feed(data)
        except Malformed:
            self._end("malformed")
            return
        assert answer is not None  # noqa: S101 - none expected, it was malformed
        if answer.is_whole:
            self._is_answered()
        elif answer.has_head and (answer.held or not was_body):
            self._timer.clear()  # until somebody waits for the next piece
            if answer.held > MOST_HELD:
                self._pause()
        if answer.has_head:
            answer.wake()

    def eof_received(self) -> None:
        self._end("reset")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the same whatever ended it
        self._end("reset")

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._make_room()

    def _is_answered(self) -> None:
        self._answer = None
        if self._is_sending or self._is_full or not self._reader.is_reusable:
            self._end("reset")  # of what may still be coming, nobody would know where it begins
            return
        self._resume()
        self._timer.set(self._loop.time() + IDLE_S)
        self._keeper.free(self)

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _time_is_over(self) -> None:
        self._end("timeout")

    def _end(self, failure: Failure) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        self._timer.stop()
        self._transport.abort()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(failure)
        self._make_room()
        self._keeper.gone(self)

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
