"""The data plane: raw ASGI in front of the gateway's own few pages.

from which page? → authenticate → may it, from here? → look in the cache → limit → answer, or forward with a signed principal.
A request that is refused has cost nothing.
"""

import asyncio
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.adapters.answers import LONGEST
from gateway.adapters.upstreams import BrokenAnswer, Outgoing, UpstreamAnswer, Upstreams
from gateway.api import cors
from gateway.api.exchange import Exchange
from gateway.domain.addresses import Network
from gateway.domain.admission import Admission
from gateway.domain.bodies import SMALL, BodyRoom, HeldBody
from gateway.domain.caching import SURROGATE_KEY, AnswerCache, cache_key
from gateway.domain.callers import Callers
from gateway.domain.credentials import credential_of
from gateway.domain.errors import NotFromHere
from gateway.domain.origins import Origins
from gateway.domain.permission import check_permission
from gateway.domain.ports import Answer
from gateway.domain.routing import Route, route_of
from shared.conditional import etag_matches
from shared.context import current_request_id
from shared.errors import KalpiError, Unauthenticated
from shared.limits.batches import day_cost, series_in
from shared.limits.fields import ratelimit_fields
from shared.limits.plans import Entitlements, Plan
from shared.logging import get_logger
from shared.principal import HEADER, EnvelopeSigner, Principal
from shared.problems import problem_response

__all__ = ["Edge"]

_PIECE_S = 30.0
"""How long a client may take to read 64 KiB; one that takes longer would hold a connection to a service."""

_log = get_logger("edge")
_HANDED_ON = ("accept", "content-type")
"""All of a client's headers that a service sees; who the client is, it learns from the signed principal alone."""


class Edge:
    """Answers what the route table knows and passes everything else to `app`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        callers: Callers,
        origins: Origins,
        admission: Admission,
        cache: AnswerCache,
        upstreams: Upstreams,
        signer: EnvelopeSigner,
        max_body_bytes: int,
        held_body_bytes: int,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self._app = app
        self._nobody = Principal.service(name)
        self._callers = callers
        self._origins = origins
        self._admission = admission
        self._cache = cache
        self._upstreams = upstreams
        self._signer = signer
        self._max_body_bytes = max_body_bytes
        self._room = BodyRoom(held_body_bytes)
        self._counting = asyncio.Lock()
        self._trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = route_of(scope["raw_path"]) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["route"] = route.path
        exchange = Exchange(scope, receive, send, self._trusted_proxies)
        held = HeldBody(self._room)
        exchange.add(cors.VARY)
        try:
            page = cors.asking_page(exchange)
            if page is not None:
                self._origins.check(page)
                cors.allow(exchange, page)
            if cors.is_preflight(exchange):
                await cors.answer_preflight(exchange)
            else:
                await self._serve(route, exchange, held, page)
        except KalpiError as error:
            await problem_response(error, exchange.path)(scope, receive, exchange.send)
        except BrokenAnswer as error:
            # nothing more can be said to the client: the server closes a connection whose answer was not completed
            _log.warning("answer broken off", path=exchange.path, why=str(error))
        finally:
            held.give_back()

    async def _serve(self, route: Route, exchange: Exchange, held: HeldBody, page: str | None) -> None:
        if route.access == "open":
            await self._admission.anonymous(exchange.client_ip)
            await self._forward(route, exchange, await self._outgoing(route, exchange, held, self._nobody, None))
            return
        principal = await self._authenticate(route, exchange, page)
        held.account = principal.account
        plan = self._admission.plan_of(principal)
        if route.access == "data" and exchange.method != "GET":
            # its slot first: what waits for a body, or counts in it, is one of the requests that a caller may have at a time
            async with self._admission.slot(principal, plan):
                request = await self._outgoing(route, exchange, held, principal, plan.entitlements)
                day_cost = await self._cost_of(request, plan) if route.batch and exchange.method == "POST" else 1
                await self._spend(exchange, principal, plan, day_cost)
                await self._forward(route, exchange, request)
            return
        request = await self._outgoing(route, exchange, held, principal, plan.entitlements)
        if route.access == "account":
            await self._forward(route, exchange, request)
        elif route.is_free(exchange.query):
            async with self._admission.slot(principal, plan):
                await self._forward(route, exchange, request)
        else:
            await self._read(route, exchange, request, principal, plan)

    async def _cost_of(self, request: Outgoing, plan: Plan) -> int:
        """Of the day's quota; InvalidInput for what is no batch, TierRequired for one with too many series."""
        assert isinstance(request.body, bytes)  # noqa: S101 - no upload
        if len(request.body) <= SMALL:
            series = series_in(request.body)
        else:
            self._admission.check_outline(request.body, plan)
            # read one at a time: its objects take many times the room of the bytes
            async with self._counting:
                series = await asyncio.to_thread(series_in, request.body)
        self._admission.check_series(series, plan)
        return day_cost(series)

    async def _authenticate(self, route: Route, exchange: Exchange, page: str | None) -> Principal:
        """Unauthenticated; Forbidden where the credential is not for this route, this address or this web page."""
        try:
            credential = credential_of(exchange.header_values(b"x-api-key"), exchange.header_values(b"authorization"))
            identity = self._callers.identify(credential)
            caller = self._callers.known(identity)
            if caller is None:
                await self._admission.check_address(exchange.client_ip)
                caller = await self._callers.resolve(identity)
            if page is not None:
                cors.hold_to_tenant(exchange, page, caller)
            check_permission(caller, exchange.client_ip, route.scope_for(exchange.method))
        except (Unauthenticated, NotFromHere):
            await self._admission.anonymous(exchange.client_ip)
            raise
        return caller.principal

    async def _spend(self, exchange: Exchange, principal: Principal, plan: Plan, day_cost: int = 1) -> None:
        exchange.add(ratelimit_fields(await self._admission.spend(principal, plan, day_cost)))

    async def _read(self, route: Route, exchange: Exchange, request: Outgoing, principal: Principal, plan: Plan) -> None:
        accept = exchange.header(b"accept") or b""
        key = cache_key(exchange.path, exchange.query, accept, principal.tier, plan.entitlements) if self._cache.in_use else None
        answer = await self._cache.find(key) if key is not None else None
        if answer is not None:
            await self._spend(exchange, principal, plan)
            exchange.add({"X-Cache": "HIT"})
            await _send_whole(exchange, answer)
            return
        async with self._admission.slot(principal, plan):
            await self._spend(exchange, principal, plan)
            exchange.add({"X-Cache": "MISS" if key is not None else "BYPASS"})
            await self._forward(route, exchange, request, keep_as=key)

    async def _forward(self, route: Route, exchange: Exchange, request: Outgoing, *, keep_as: str | None = None) -> None:
        async with self._upstreams.send(route.service, request) as upstream:
            if keep_as is not None and _may_be_kept(upstream):
                answer = Answer(upstream.headers, await upstream.read())
                await self._cache.keep(keep_as, answer)
                await _send_whole(exchange, answer)
            else:
                await _stream(exchange, upstream)

    async def _outgoing(
        self, route: Route, exchange: Exchange, held: HeldBody, principal: Principal, entitlements: Entitlements | None
    ) -> Outgoing:
        headers = {name: value.decode("latin-1") for name in _HANDED_ON if (value := exchange.header(name.encode())) is not None}
        headers["X-Request-ID"] = current_request_id()
        headers[HEADER] = self._signer.sign(
            principal, audience=route.service, entitlements=entitlements, client_ip=exchange.client_ip
        )
        if route.upload_bytes is None:
            body = await exchange.body(self._most(route, exchange.method), held)
            return Outgoing(exchange.method, exchange.target, headers, body, route.timeout_s)
        length, pieces = exchange.upload(route.upload_bytes)
        headers["Content-Length"] = str(length)
        return Outgoing(exchange.method, exchange.target, headers, pieces, route.timeout_s)

    def _most(self, route: Route, method: str) -> int:
        """Bytes of a body. Without a slot, which bounds how many there are at a time, none takes room from others."""
        most = route.body_bytes or self._max_body_bytes
        return 0 if method == "GET" else most if route.access == "data" else min(most, SMALL)


def _may_be_kept(upstream: UpstreamAnswer) -> bool:
    length = upstream.header(b"content-length")
    return upstream.status == 200 and upstream.header(SURROGATE_KEY) is not None and length is not None and int(length) <= LONGEST


async def _send_whole(exchange: Exchange, answer: Answer) -> None:
    """200 with the body, or 304 for a client that has it."""
    if _client_has(exchange, answer.header(b"etag")):
        await exchange.start(304, _told(answer.headers, b"content-length", b"content-type"))
        await exchange.piece(b"", more=False)
    else:
        await exchange.start(200, _told(answer.headers))
        await exchange.piece(answer.body, more=False)


async def _stream(exchange: Exchange, upstream: UpstreamAnswer) -> None:
    if upstream.status == 200 and _client_has(exchange, upstream.header(b"etag")):
        await exchange.start(304, _told(upstream.headers, b"content-length", b"content-type"))
        await exchange.piece(b"", more=False)
        return
    await exchange.start(upstream.status, _told(upstream.headers))
    async for piece in upstream.pieces():
        try:
            async with asyncio.timeout(_PIECE_S):
                await exchange.piece(piece, more=True)
        except TimeoutError:
            raise BrokenAnswer("the client reads too slowly") from None
    await exchange.piece(b"", more=False)


def _client_has(exchange: Exchange, etag: bytes | None) -> bool:
    sent = exchange.header(b"if-none-match")
    return etag is not None and sent is not None and etag_matches(sent.decode("latin-1"), etag.decode("latin-1"))


def _told(headers: Iterable[tuple[bytes, bytes]], *but: bytes) -> list[tuple[bytes, bytes]]:
    """What of a service's headers is for the client."""
    return [(name, value) for name, value in headers if name != SURROGATE_KEY and name not in but]
