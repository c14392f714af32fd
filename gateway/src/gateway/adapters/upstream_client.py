"""HTTP to one instance of a service: pooled connections of aiohttp, a deadline for the head of the answer, three ways to fail."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from gateway.domain.shedding import Share
from shared.errors import KalpiError

__all__ = ["NoAnswer", "NotReached", "Outgoing", "UpstreamClient"]

_CHUNK = 64 * 1024
_MALFORMED = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)


class NoAnswer(Exception):
    """The instance has, or may have, seen the request. The words are a label of a metric."""


class NotReached(Exception):
    """No connection: the instance has seen nothing of the request. The same kind of words."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`target` is path and query as they were sent; `headers` all that goes with them but the trace and the deadline; `share` is
    on whose account it takes room.

    A body that comes in pieces is sent once; `timeout_s` replaces the usual wait for its answer.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes] = field(repr=False)
    share: Share
    timeout_s: float | None = None


class UpstreamClient:
    """`connections` at most to each instance; whoever finds them all in use waits, within its own deadline."""

    def __init__(self, *, connections: int, connect_s: float) -> None:
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=self._connections),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            timeout=self._timeout,
        )
        # it would send what was not answered once more by itself, uncounted; its own test client has no other way either
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ask(self, url: str, request: Outgoing, headers: Mapping[str, str], wait_s: float) -> aiohttp.ClientResponse:
        """The head of the answer, within `wait_s` from now on; of an upload, from its last byte on.

        NotReached; NoAnswer; as the client fails to send its upload (KalpiError).
        """
        limit = asyncio.timeout(wait_s)
        upload = None if isinstance(request.body, bytes) else _Upload(request.body, limit, wait_s)
        try:
            async with limit:
                response = await self._session.request(
                    request.method,
                    URL(url + request.target, encoded=True),
                    headers=headers,
                    data=upload.pieces() if upload is not None else _whole(request.body),
                    allow_redirects=False,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotReached("refused") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if upload is not None and upload.failure is not None:
                raise upload.failure from None
            raise NoAnswer(_kind(error)) from error
        finally:
            if upload is not None:
                upload.answered()
        if response.status < 200:  # nothing was upgraded here
            response.close()
            raise NoAnswer("malformed")
        return response


class _Upload:
    """A body on its way from the client to the service, whose time runs while it takes a piece, not while one is coming."""

    def __init__(self, body: AsyncIterator[bytes], limit: asyncio.Timeout, wait_s: float) -> None:
        self._body = body
        self._limit = limit
        self._wait_s = wait_s
        self._answered = False
        self.failure: KalpiError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            self._give(None)
            async for piece in self._body:
                self._give(self._wait_s)
                yield piece
                self._give(None)
            self._give(self._wait_s)
        except KalpiError as error:
            self.failure = error
            raise

    def answered(self) -> None:
        """Some are before they have come whole, and then there is no limit left to move."""
        self._answered = True

    def _give(self, wait_s: float | None) -> None:
        if not (self._answered or self._limit.expired()):
            self._limit.reschedule(None if wait_s is None else asyncio.get_running_loop().time() + wait_s)


def _whole(body: bytes | AsyncIterator[bytes]) -> bytes | io.BytesIO | None:
    assert isinstance(body, bytes)  # noqa: S101 - no upload
    if len(body) > _CHUNK:
        return io.BytesIO(body)  # sent piece by piece: as one it would keep the others waiting
    return body or None


def _kind(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "malformed" if isinstance(error, _MALFORMED) else "reset"
