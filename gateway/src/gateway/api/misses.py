"""Reads that are not in the cache, by callers who are known: as the edge would answer them, without ASGI's scope and messages."""

from datetime import datetime

from opentelemetry import context
from opentelemetry.trace import SpanKind, set_span_in_context

from gateway.api.plain_exchange import PlainExchange
from gateway.api.reading import Reading
from gateway.api.settling import Ledger, settle
from shared.at_once import AtOnce
from shared.context import REQUEST_ID
from shared.limits.plans import Plan
from shared.principal import Principal
from shared.telemetry import Telemetry, extract_context

__all__ = ["Misses"]


class Misses:
    def __init__(self, reading: Reading, telemetry: Telemetry, ledger: Ledger) -> None:
        self._reading = reading
        self._tracer = telemetry.tracer
        self._ledger = ledger

    async def answer(
        self, exchange: PlainExchange, principal: Principal, plan: Plan, key: bytes, at: datetime, began: float
    ) -> AtOnce | None:
        """A `Soon`, of a caller who may ask, for what the cache does not have under that key."""
        # of the task that this is: what is set in here ends with it
        REQUEST_ID.set(exchange.request_id)
        parent = extract_context(exchange.text(b"traceparent"), exchange.text(b"tracestate"))
        span = self._tracer.start_span(f"GET {exchange.asked.route.path}", parent, SpanKind.SERVER)
        context.attach(set_span_in_context(span, parent))
        exchange.principal = principal
        try:
            usable = key if self._reading.cache.in_use else None
            await settle(exchange, self._reading.fetch(exchange, principal, plan, usable))
        finally:
            self._ledger.enter(exchange, at, began)
        return exchange.answer
