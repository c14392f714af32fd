"""Traces: W3C context on every hop, spans exported over OTLP/HTTP when an endpoint is set."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Tracer, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["Telemetry", "extract_context", "inject_context"]

_PROPAGATOR = TraceContextTextMapPropagator()


class Telemetry:
    """One service's tracer. Without an endpoint nothing records, and the context is still handed on."""

    def __init__(self, service: str, endpoint: str) -> None:
        self._provider = _exporting(service, endpoint) if endpoint else None
        self.exports = self._provider is not None
        self.tracer: Tracer = self._provider.get_tracer("kalpi") if self._provider else _HandingOn()

    def shutdown(self) -> None:
        """Exports what is still held."""
        if self._provider is not None:
            self._provider.shutdown()


def _exporting(service: str, endpoint: str) -> Any:
    # here, because a process that exports nothing is spared megabytes of it
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased  # noqa: PLC0415

    resource = Resource.create({SERVICE_NAME: service})
    provider = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    return provider


class _NewTrace(NonRecordingSpan):
    """Of nobody's trace yet: its context is made where somebody asks, which is seldom."""

    def __init__(self) -> None:
        self._trace_id, self._span_id = random.getrandbits(128), random.getrandbits(64)

    def get_span_context(self) -> SpanContext:
        return SpanContext(self._trace_id, self._span_id, is_remote=False)

    @property
    def traceparent(self) -> str:
        return f"00-{self._trace_id:032x}-{self._span_id:016x}-00"


class _HandingOn(Tracer):
    """Every span is one of its caller's trace, or of a new one, and is not recorded."""

    def start_span(self, name: str, context: Context | None = None, *_: Any, **__: Any) -> Span:  # noqa: ARG002 - as the API's
        if context is not None and not context:
            return _NewTrace()
        caller = get_current_span(context).get_span_context()
        trace = caller.trace_id or random.getrandbits(128)
        return NonRecordingSpan(SpanContext(trace, random.getrandbits(64), is_remote=False, trace_state=caller.trace_state))

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # the API's own kind of context manager is private
        self, name: str, context: Context | None = None, *_: Any, **__: Any
    ) -> Iterator[Span]:
        with use_span(self.start_span(name, context)) as span:
            yield span


def extract_context(traceparent: str | None, tracestate: str | None = None) -> Context:
    if traceparent is None:
        return Context()
    carrier = {name: value for name, value in (("traceparent", traceparent), ("tracestate", tracestate)) if value}
    return _PROPAGATOR.extract(carrier, Context())


def inject_context(headers: dict[str, str], span: Span | None = None) -> None:
    """Adds `traceparent` (and `tracestate`) of a span: the current one where none is given."""
    span = span or get_current_span()
    if isinstance(span, _NewTrace):
        headers["traceparent"] = span.traceparent
        return
    context = span.get_span_context()
    if context.is_valid:
        headers["traceparent"] = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        if context.trace_state:
            headers["tracestate"] = context.trace_state.to_header()
