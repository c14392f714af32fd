"""Requests handed on to the services, over pooled connections, and their answers as they come."""

import io
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from opentelemetry.trace import SpanKind
from yarl import URL

from shared.errors import Unavailable
from shared.telemetry import Telemetry, inject_context

__all__ = ["BrokenAnswer", "Outgoing", "UpstreamAnswer", "Upstreams"]

_CHUNK = 64 * 1024
_CONNECTIONS = 256
# RFC 9110, section 7.6.1, and what this hop says for itself
_DROPPED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"date",
        b"server",
    }
)


class BrokenAnswer(Exception):
    """A service stopped in the middle of an answer that the client has already begun to receive."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`target` is path and query as they were sent; `headers` all that goes with them but the trace.

    A body that comes in pieces is sent once, so to one instance; `timeout_s` replaces the usual wait for its answer.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes] = field(repr=False)
    timeout_s: float | None = None


class UpstreamAnswer:
    """Status and headers have come; the body is read once, whole or in pieces."""

    def __init__(self, service: str, response: aiohttp.ClientResponse) -> None:
        self._service = service
        self._response = response
        self.status = response.status
        dropped = {name.strip().lower().encode("latin-1") for name in response.headers.get("Connection", "").split(",")}
        raw = ((name.lower(), value) for name, value in response.raw_headers)
        self.headers = tuple((name, value) for name, value in raw if name not in _DROPPED and name not in dropped)

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    async def read(self) -> bytes:
        """The whole body; Unavailable when it does not come."""
        try:
            return await self._response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(self._service, error) from error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; BrokenAnswer when it ends too early."""
        try:
            async for piece in self._response.content.iter_chunked(_CHUNK):
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BrokenAnswer(f"{self._service}: {type(error).__name__}") from error


class Upstreams:
    """`urls` gives each service's base URLs. A refused connection is tried at the other instances first."""

    def __init__(self, urls: Mapping[str, Sequence[str]], telemetry: Telemetry, timeout_s: float) -> None:
        self._urls = {service: tuple(instances) for service, instances in urls.items()}
        self._turn = itertools.count()
        self._tracer = telemetry.tracer
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    @asynccontextmanager
    async def send(self, service: str, request: Outgoing) -> AsyncIterator[UpstreamAnswer]:
        """Unavailable when no instance answers in time."""
        attributes = {"http.request.method": request.method, "peer.service": service}
        name = f"{request.method} {service}"
        with self._tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
            headers = dict(request.headers)
            inject_context(headers)
            response = await self._first_answer(service, request, headers)
            try:
                span.set_attribute("http.response.status_code", response.status)
                yield UpstreamAnswer(service, response)
            finally:
                # a body that was not read to its end takes its connection with it
                response.release()

    async def _first_answer(self, service: str, request: Outgoing, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        instances = self._urls[service]
        first = next(self._turn)
        wait = request.timeout_s or self._timeout_s
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout_s, sock_read=wait)
        for attempt in range(len(instances) if isinstance(request.body, bytes) else 1):
            url = URL(instances[(first + attempt) % len(instances)] + request.target, encoded=True)
            try:
                return await self._session.request(
                    request.method, url, headers=headers, data=_data(request.body), allow_redirects=False, timeout=timeout
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _no_answer(service, error) from error
        raise Unavailable(f"{service} cannot be reached")


def _data(body: bytes | AsyncIterator[bytes]) -> bytes | AsyncIterator[bytes] | io.BytesIO | None:
    if isinstance(body, bytes) and len(body) > _CHUNK:
        return io.BytesIO(body)  # sent piece by piece: as one it would keep the others waiting
    return body or None


def _no_answer(service: str, error: Exception) -> Unavailable:
    return Unavailable(f"{service} did not answer ({type(error).__name__})")
