"""A body on its way to a service, piece by piece, while the answer may already be coming."""

import asyncio
from collections.abc import AsyncIterator

from gateway.adapters.http1.answer import PIECE, Answer
from gateway.adapters.http1.connection import Connection

__all__ = ["Upload", "in_pieces"]


class Upload:
    """Goes on until it has been sent, or its answer is whole, or has failed. `length` is what it says of itself, None in chunks.

    With `wait_s`, time runs while the service takes a piece, and from the last one on; not while one is coming. Without, as it
    runs. `failure`: the body broke off, and the answer failed with it.
    """

    def __init__(
        self, connection: Connection, answer: Answer, body: AsyncIterator[bytes], length: int | None, wait_s: float | None
    ) -> None:
        self._connection = connection
        self._answer = answer
        self._body = body
        self._length = length
        self._wait_s = wait_s
        self.failure: Exception | None = None
        task = asyncio.create_task(self._send(), name="upload")
        answer.when_over(task.cancel)

    async def _send(self) -> None:
        try:
            await self._send_all()
        except Exception as error:  # noqa: BLE001 - whatever ends the body ends the request, and is told to whoever asked
            self.failure = error
            self._answer.release()

    async def _send_all(self) -> None:
        connection, length = self._connection, self._length
        self._runs(on=False)
        async for piece in self._body:
            self._runs(on=True)
            if length is not None:
                length -= len(piece)
                if length < 0:
                    raise ValueError("a body is longer than it says")
                await connection.send(piece)
            elif piece:
                await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            self._runs(on=False)
        if length:
            raise ValueError("a body is shorter than it says")
        self._runs(on=True)
        if length is None:
            await connection.send(b"0\r\n\r\n")
        connection.sent()

    def _runs(self, *, on: bool) -> None:
        """Until the answer comes: then its own pieces are waited for."""
        if self._wait_s is None or self._answer.has_head:
            return
        if on:
            self._connection.wait(self._wait_s)
        else:
            self._connection.rest()


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), PIECE):
        yield body[begin : begin + PIECE]
