"""One answer: a reader fills it as bytes come, whoever asked takes from it."""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

__all__ = ["PIECE", "Answer", "Failure", "Source"]

PIECE = 64 * 1024
"""Bytes that are taken at a time."""
Failure = Literal["reset", "timeout", "malformed"]


class Source(Protocol):
    """The connection that it comes by."""

    def wait(self, seconds: float) -> None:
        """There is room for more; the answer fails with `timeout` unless it has come by then."""
        ...

    def abort(self) -> None: ...


class Answer:
    """`has_head`: status and fields are there, names in lower case. `is_whole`: so is the body, of which `held` bytes are still
    to be taken, and its connection is another's. One that has failed keeps what had come by then."""

    __slots__ = ("_pieces", "_source", "_then", "_waiter", "failure", "fields", "has_head", "held", "is_whole", "status")

    def __init__(self, source: Source) -> None:
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.has_head = self.is_whole = False
        self.failure: Failure | None = None
        self.held = 0
        self._pieces: list[bytes] = []
        self._source = source
        self._then: Callable[[], object] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.held += len(piece)

    def fail(self, failure: Failure) -> None:
        """Unless it is whole, or has failed before."""
        if self.failure is None and not self.is_whole:
            self.failure = failure
        self.wake()

    def wake(self) -> None:
        """Something has changed."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # or whoever waited has gone
            waiter.set_result(None)
        if self._then is not None and self._is_over():
            then, self._then = self._then, None
            then()

    def when_over(self, then: Callable[[], object]) -> None:
        """Called once it is whole, or has failed."""
        if self._is_over():
            then()
        else:
            self._then = then

    async def head(self) -> None:
        """Returns once it is there, or never will be."""
        while not (self.has_head or self.failure):
            await self._change()

    def take(self) -> bytes:
        """What has come, `PIECE` bytes at most; nothing where nothing has."""
        pieces = self._pieces
        if not pieces:
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if len(piece) > PIECE:
            pieces.append(piece[PIECE:])
            piece = piece[:PIECE]
        self.held -= len(piece)
        return piece

    async def more(self, wait_s: float) -> None:
        """Returns once there is something to take, or never will be: it is whole, or has failed."""
        if self._is_open():
            self._source.wait(wait_s)
            while self._is_open():
                await self._change()

    def release(self) -> None:
        """Nobody wants the rest, which takes the connection with it."""
        if not self.is_whole:
            self._source.abort()

    def _is_over(self) -> bool:
        return self.is_whole or self.failure is not None

    def _is_open(self) -> bool:
        return not (self.held or self._is_over())

    def _change(self) -> "asyncio.Future[None]":
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return waiter
