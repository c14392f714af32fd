"""Requests on their way to a service, and its answers on their way to the client."""

import asyncio
from collections.abc import Awaitable
from contextlib import nullcontext

from gateway.adapters.upstreams import BrokenAnswer, Outgoing, UpstreamAnswer, Upstreams
from gateway.api.answers import client_has, of_304, told
from gateway.api.asgi_exchange import AsgiExchange
from gateway.api.exchange import Exchange
from gateway.domain.bodies import SMALL, HeldBody
from gateway.domain.routing import Route
from gateway.domain.shedding import Share
from shared.limits.plans import Entitlements
from shared.principal import HEADER, EnvelopeSigner, Principal

__all__ = ["Forwarding", "stream"]

_PIECE_S = 30.0
"""How long a client may take to read 64 KiB; one that takes longer would hold a connection to a service."""
_HANDED_ON = (("accept", b"accept"), ("content-type", b"content-type"))
"""All of a client's headers that a service sees; who the client is, it learns from the signed principal alone."""


class Forwarding:
    """`max_body_bytes` is the longest body where a route says nothing else."""

    def __init__(self, upstreams: Upstreams, signer: EnvelopeSigner, max_body_bytes: int) -> None:
        self.upstreams = upstreams
        self._signer = signer
        self._max_body_bytes = max_body_bytes

    async def forward(self, route: Route, exchange: Exchange, request: Outgoing) -> None:
        """ClientGone, which takes the request from the service; but an upload ends by itself where its client does."""
        is_whole = isinstance(request.body, bytes)
        async with exchange.attended() if is_whole else nullcontext(), self.upstreams.send(route.service, request) as upstream:
            await stream(exchange, upstream)

    async def outgoing(
        self, route: Route, exchange: AsgiExchange, held: HeldBody, principal: Principal, entitlements: Entitlements | None
    ) -> Outgoing:
        """Once its body has come, but for an upload, which goes on as it comes."""
        if route.upload_bytes is None:
            body = await self.body(route, exchange, held)
            return self.bodied(route, exchange, body, principal, entitlements, self.share(exchange, principal))
        length, pieces = exchange.upload(route.upload_bytes)
        headers, share = self._headers(route, exchange, principal, entitlements), self.share(exchange, principal)
        return Outgoing(exchange.method, exchange.target, headers, pieces, share, route.timeout_s, length)

    async def body(self, route: Route, exchange: AsgiExchange, held: HeldBody) -> bytes:
        return await exchange.body(self._most(route, exchange.method), held)

    def bodied(
        self,
        route: Route,
        exchange: Exchange,
        body: bytes,
        principal: Principal,
        entitlements: Entitlements | None,
        share: Share,
    ) -> Outgoing:
        headers = self._headers(route, exchange, principal, entitlements)
        return Outgoing(exchange.method, exchange.target, headers, body, share, route.timeout_s)

    def check_room(self, route: Route, share: Share) -> None:
        """Overloaded, where a request would find no room now; asked before it is paid for."""
        self.upstreams.shedding.check(route.service, share)

    def share(self, exchange: Exchange, principal: Principal) -> Share:
        shedding = self.upstreams.shedding
        return shedding.share_of(principal) if principal.kind == "user" else shedding.share_of_nobody(exchange.client_ip)

    def _headers(
        self, route: Route, exchange: Exchange, principal: Principal, entitlements: Entitlements | None
    ) -> dict[str, str]:
        headers = {name: value.decode("latin-1") for name, sent in _HANDED_ON if (value := exchange.header(sent)) is not None}
        headers["X-Request-ID"] = exchange.request_id
        headers[HEADER] = self._signer.sign(
            principal, audience=route.service, entitlements=entitlements, client_ip=exchange.client_ip
        )
        return headers

    def _most(self, route: Route, method: str) -> int:
        """Bytes of a body. Without a slot, which bounds how many there are at a time, none takes room from others."""
        most = route.body_bytes or self._max_body_bytes
        return 0 if method == "GET" else most if route.access == "data" else min(most, SMALL)


async def stream(exchange: Exchange, upstream: UpstreamAnswer) -> None:
    """The answer as it comes, or 304 for a client that has it; BrokenAnswer when it, or the client, stops in the middle."""
    if upstream.status == 200 and client_has(upstream.header(b"etag"), exchange.header(b"if-none-match")):
        await _in_time(exchange.whole(304, of_304(told(upstream.headers)), b""))
        return
    body = upstream.at_hand()
    if body is not None:
        fields = told(upstream.headers)
        if not exchange.at_once(upstream.status, fields, body):
            await _in_time(exchange.whole(upstream.status, fields, body))
        return
    await _in_time(exchange.start(upstream.status, told(upstream.headers)))
    async for piece in upstream.pieces():
        await _in_time(exchange.piece(piece, more=True))
    await _in_time(exchange.piece(b"", more=False))


async def _in_time(sending: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(_PIECE_S):
            await sending
    except TimeoutError:
        raise BrokenAnswer("the client reads too slowly") from None
