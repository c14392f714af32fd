"""HTTP to one instance of a service: pooled connections, a deadline for the head of the answer, three ways to fail."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.adapters.http1.answer import Answer
from gateway.adapters.http1.connection import Connection
from gateway.adapters.http1.pool import NotReached, Pool
from gateway.adapters.http1.requests import Origin
from gateway.adapters.http1.upload import Upload, in_pieces
from gateway.domain.shedding import Share

__all__ = ["NoAnswer", "NotReached", "Outgoing", "UpstreamClient"]

_AT_ONCE = 64 * 1024
"""A longer body goes in pieces: as one it would keep the others waiting."""


class NoAnswer(Exception):
    """The instance has, or may have, seen the request. The words are a label of a metric."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`target` is path and query as they were sent; `headers` all that goes with them but what says where the request ends, the
    trace and the deadline, which are added when it is sent; `share` is on whose account it takes room.

    A body that comes in pieces is sent once, as `length` bytes, or in chunks where that is None; `timeout_s` replaces the usual
    wait for its answer.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes] = field(repr=False)
    share: Share
    timeout_s: float | None = None
    length: int | None = None


class UpstreamClient:
    """`connections` at most to each of `urls`; whoever finds them all in use waits, within its own deadline."""

    def __init__(self, urls: Iterable[str], *, connections: int, connect_s: float) -> None:
        self._pools = {url: Pool(Origin.of(url), most=connections, connect_s=connect_s) for url in urls}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in self._pools.values():
            pool.close()

    async def ask(self, url: str, request: Outgoing, wait_s: float) -> Answer:
        """The head of the answer, within `wait_s` from now on; of an upload, from its last byte on.

        NotReached; NoAnswer; as the client fails to send its upload (KalpiError).
        """
        pool, body = self._pools[url], request.body
        length = len(body) if isinstance(body, bytes) else request.length
        header = pool.origin.header(request.method, request.target, request.headers, length)
        connection = pool.take_idle()
        if connection is None:
            loop = asyncio.get_running_loop()
            ends_at = loop.time() + wait_s
            connection = await _taken(pool, wait_s)
            wait_s = max(0.0, ends_at - loop.time()) if isinstance(body, bytes) else wait_s
        if isinstance(body, bytes) and len(body) <= _AT_ONCE:
            answer = connection.ask(request.method, header + body, wait_s, is_all=True)
            upload = None
        else:
            answer = connection.ask(request.method, header, wait_s, is_all=False)
            pieces, is_timed = (in_pieces(body), False) if isinstance(body, bytes) else (body, True)
            upload = Upload(connection, answer, pieces, length, wait_s if is_timed else None)
        try:
            await answer.head()
        except BaseException:  # nobody wants it any more
            answer.release()
            raise
        if answer.failure is not None:
            _give_up(pool, connection, answer, upload)
        return answer


async def _taken(pool: Pool, wait_s: float) -> Connection:
    try:
        async with asyncio.timeout(wait_s):
            return await pool.take()
    except TimeoutError as error:
        raise NoAnswer("timeout") from error


def _give_up(pool: Pool, connection: Connection, answer: Answer, upload: Upload | None) -> None:
    if upload is not None and upload.failure is not None:
        raise upload.failure
    if answer.failure == "reset" and connection.was_used:
        pool.close_idle()  # the others may be as stale as this one was: what is sent again is sent by a new one
    raise NoAnswer(answer.failure)
