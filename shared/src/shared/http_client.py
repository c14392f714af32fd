"""Calls from one service to another: signed, traced, bounded in time, over a few base URLs."""

import itertools
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_aiohttp import AiohttpTransport
from opentelemetry.trace import SpanKind

from shared.context import current_request_id
from shared.errors import Unavailable
from shared.principal import HEADER, EnvelopeSigner, Principal
from shared.telemetry import Telemetry, inject_context

__all__ = ["ServiceClient"]


class ServiceClient:
    """HTTP to the instances of one service, each call as `svc:<caller>`.

    A call that cannot be answered (refused, reset, timed out, 5xx) raises `Unavailable`; a refused connection is tried
    at the other instances first. Any other status is the caller's to read.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        caller: str,
        audience: str,
        signer: EnvelopeSigner,
        telemetry: Telemetry,
        timeout_s: float = 2.0,
    ) -> None:
        self._urls = tuple(urls)
        self._turn = itertools.count()
        self._principal = Principal.service(caller)
        self._audience = audience
        self._signer = signer
        self._tracer = telemetry.tracer
        # httpx's own pool leaks slots on cancelled requests (encode/httpcore#1093); aiohttp's does not.
        transport = AiohttpTransport(verify=_authorities(), trust_env=False)
        self._client = httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def get(
        self, path: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return await self.request("GET", path, params=params, headers=headers)

    async def post(self, path: str, *, json: Any) -> httpx.Response:
        return await self.request("POST", path, json=json)

    async def check(self) -> None:
        """For health: raises when no instance is ready."""
        response = await self.get("/health/ready")
        if response.status_code != 200:
            raise Unavailable(f"{self._audience} is not ready")

    async def check_all(self) -> None:
        """For health: raises when an instance is not ready, or lacks something that it needs."""
        response = await self.get("/health")
        if response.status_code != 200 or response.json()["status"] != "ok":
            raise Unavailable(f"{self._audience} is not well")

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> httpx.Response:
        first = next(self._turn)
        attributes = {"http.request.method": method, "url.path": path, "peer.service": self._audience}
        with self._tracer.start_as_current_span(
            f"{method} {self._audience}", kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            sent = {**(headers or {}), HEADER: self._signer.sign(self._principal, audience=self._audience)}
            if request_id := current_request_id():
                sent["X-Request-ID"] = request_id
            inject_context(sent)
            for attempt in range(len(self._urls)):
                url = self._urls[(first + attempt) % len(self._urls)] + path
                try:
                    response = await self._client.request(method, url, params=params, headers=sent, json=json)
                except (httpx.ConnectError, httpx.ConnectTimeout):  # a refused connection comes as either
                    continue
                except httpx.TransportError as error:
                    raise Unavailable(f"{self._audience} did not answer ({type(error).__name__})") from error
                span.set_attribute("http.response.status_code", response.status_code)
                if response.status_code >= 500:
                    raise Unavailable(f"{self._audience} is not well")
                return response
            raise Unavailable(f"{self._audience} cannot be reached")


@cache
def _authorities() -> ssl.SSLContext:
    """Those that httpx trusts, read once: for each client it would take 20 ms, and the gateway has four."""
    return httpx.create_ssl_context(trust_env=False)
