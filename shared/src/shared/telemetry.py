"""Traces: W3C context on every hop, spans exported over OTLP/HTTP when an endpoint is set."""

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["Telemetry", "extract_context", "inject_context"]

_PROPAGATOR = TraceContextTextMapPropagator()


class Telemetry:
    """One service's tracer. Without an endpoint nothing records, and the context is still handed on."""

    def __init__(self, service: str, endpoint: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: service}),
            sampler=ParentBased(ALWAYS_ON) if endpoint else ALWAYS_OFF,
            shutdown_on_exit=False,
        )
        if endpoint:
            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self.tracer = self._provider.get_tracer("kalpi")

    def shutdown(self) -> None:
        """Exports what is still held."""
        self._provider.shutdown()


def extract_context(traceparent: str | None, tracestate: str | None = None) -> Context:
    carrier = {name: value for name, value in (("traceparent", traceparent), ("tracestate", tracestate)) if value}
    return _PROPAGATOR.extract(carrier)


def inject_context(headers: dict[str, str]) -> None:
    """Adds `traceparent` (and `tracestate`) of the current span."""
    _PROPAGATOR.inject(headers)
