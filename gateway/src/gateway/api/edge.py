"""The data plane: raw ASGI in front of the gateway's own few pages.

from which page? → authenticate → may it, from here? → look in the cache → limit → answer, or forward with a signed principal.
A request that is refused has cost nothing. Whatever becomes of a request, its record is the last that is heard of it.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from opentelemetry.trace import SpanKind, use_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.adapters.upstreams import Outgoing
from gateway.api import cors
from gateway.api.answers import CommonFields
from gateway.api.asgi_exchange import AsgiExchange
from gateway.api.asked import Targets
from gateway.api.exchange import Exchange
from gateway.api.forwarding import Forwarding
from gateway.api.reading import Reading
from gateway.api.settling import Ledger, settle
from gateway.domain.addresses import Network
from gateway.domain.admission import Admission
from gateway.domain.bodies import SMALL, BodyRoom, HeldBody
from gateway.domain.callers import Callers
from gateway.domain.credentials import credential_of
from gateway.domain.errors import NotFromHere
from gateway.domain.origins import Origins
from gateway.domain.permission import check_permission
from gateway.domain.ports import Resolved
from gateway.domain.routing import Route
from shared.clock import Clock
from shared.context import REQUEST_ID
from shared.errors import Unauthenticated
from shared.limits.batches import day_cost, series_in
from shared.limits.plans import Plan
from shared.principal import Principal
from shared.scopes import ADMIN
from shared.telemetry import Telemetry, extract_context

__all__ = ["Edge"]


class Edge:
    """Answers what the route table knows and passes everything else to `app`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        targets: Targets,
        callers: Callers,
        origins: Origins,
        admission: Admission,
        reading: Reading,
        forwarding: Forwarding,
        common: CommonFields,
        held_body_bytes: int,
        trusted_proxies: Sequence[Network],
        telemetry: Telemetry,
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._app = app
        self._targets = targets
        self._nobody = Principal.service(name)
        self._callers = callers
        self._origins = origins
        self._admission = admission
        self._reading = reading
        self._forwarding = forwarding
        self._common = common
        self._room = BodyRoom(held_body_bytes)
        self._counting = asyncio.Lock()
        self._trusted_proxies = trusted_proxies
        self._tracer = telemetry.tracer
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at, began = self._clock(), time.perf_counter()
        accept = b", ".join([value for name, value in scope["headers"] if name == b"accept"])
        asked = self._targets.asked(scope["raw_path"], scope["query_string"], accept)
        if asked is None:
            await self._app(scope, receive, self._dressed(send))
            return
        route = asked.route
        exchange = AsgiExchange(scope, receive, send, asked, self._common, self._trusted_proxies)
        token = REQUEST_ID.set(exchange.request_id)
        try:
            await self._traced(route, exchange, at, began)
        finally:
            REQUEST_ID.reset(token)

    def _dressed(self, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._common.complete(list(message.get("headers", ())))}
            await send(message)

        return dressed

    async def _traced(self, route: Route, exchange: AsgiExchange, at: datetime, began: float) -> None:
        parent = extract_context(exchange.text(b"traceparent"), exchange.text(b"tracestate"))
        name = f"{exchange.verb} {route.path}"
        with use_span(self._tracer.start_span(name, parent, SpanKind.SERVER), end_on_exit=True) as span:
            try:
                await settle(exchange, self._answer(route, exchange))
            finally:
                span.set_attributes(
                    {
                        "http.request.method": exchange.verb,
                        "http.route": route.path,
                        "http.response.status_code": exchange.status,
                    }
                )
                self._ledger.enter(exchange, at, began)

    async def _answer(self, route: Route, exchange: AsgiExchange) -> None:
        held = HeldBody(self._room)
        try:
            page = cors.asking_page(exchange)
            if page is not None:
                self._origins.check(page)
                cors.allow(exchange, page)
            if cors.is_preflight(exchange):
                await cors.answer_preflight(exchange)
            else:
                await self._serve(route, exchange, held, page)
        finally:
            held.give_back()

    async def _serve(self, route: Route, exchange: AsgiExchange, held: HeldBody, page: str | None) -> None:
        if route.access == "open":
            await self._admission.anonymous(exchange.client_ip)
            async with self._admission.guarding(exchange.path, exchange.client_ip) as answered:
                request = await self._forwarding.outgoing(route, exchange, held, self._nobody, None)
                await self._forwarding.forward(route, exchange, request)
                answered(exchange.status)
            return
        principal = await self._authenticate(route, exchange, page)
        held.account = principal.account
        plan = self._admission.plan_of(principal)
        if route.access == "data" and exchange.method != "GET":
            await self._compute(route, exchange, held, principal, plan)
            return
        if route.access == "data" and not exchange.asked.is_free:
            await self._forwarding.body(route, exchange, held)  # there is none, or it is refused
            await self._reading.read(exchange, principal, plan)
            return
        if route.scope_for(exchange.method) != ADMIN:  # services of operators ask with it, and often
            exchange.paid(0, await self._admission.account(principal))
        request = await self._forwarding.outgoing(route, exchange, held, principal, plan.entitlements)
        if route.access == "account":
            await self._forwarding.forward(route, exchange, request)
        else:
            async with self._admission.slot(principal, plan):
                await self._forwarding.forward(route, exchange, request)

    async def _authenticate(self, route: Route, exchange: Exchange, page: str | None) -> Principal:
        """Unauthenticated; Forbidden where the credential is not for this route, this address or this web page."""
        try:
            caller = await self._caller(exchange)
            exchange.principal = caller.principal
            if page is not None:
                cors.hold_to_tenant(exchange, page, caller)
            check_permission(caller, exchange.client_ip, route.scope_for(exchange.method))
        except (Unauthenticated, NotFromHere):
            await self._admission.anonymous(exchange.client_ip)
            raise
        return caller.principal

    async def _caller(self, exchange: Exchange) -> Resolved:
        """Unauthenticated."""
        keys, bearers = exchange.header_values(b"x-api-key"), exchange.header_values(b"authorization")
        shown = _shown(keys, bearers)
        caller = self._callers.recognise(shown, self._clock()) if shown is not None else None
        if caller is not None:
            return caller
        credential = credential_of(keys, bearers)
        identity = self._callers.identify(credential)
        caller = self._callers.known(identity)
        if caller is None:
            await self._admission.check_address(exchange.client_ip)
            caller = await self._callers.resolve(identity)
        if shown is not None:
            self._callers.remember(shown, credential, identity)
        return caller

    async def _compute(self, route: Route, exchange: AsgiExchange, held: HeldBody, principal: Principal, plan: Plan) -> None:
        # its slot first: what waits for a body, or counts in it, is one of the requests that a caller may have at a time
        async with self._admission.slot(principal, plan):
            request = await self._forwarding.outgoing(route, exchange, held, principal, plan.entitlements)
            day_cost = await self._cost_of(request, plan) if route.batch and exchange.method == "POST" else 1
            self._forwarding.check_room(route, request.share)
            decision = await self._admission.pay(principal, plan, day_cost, client_ip=exchange.client_ip)
            exchange.paid(day_cost, decision)
            await self._forwarding.forward(route, exchange, request)

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


def _shown(keys: Sequence[bytes], bearers: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The one header that a credential came in."""
    if len(keys) + len(bearers) != 1:
        return None
    return (b"x-api-key", keys[0]) if keys else (b"authorization", bearers[0])
