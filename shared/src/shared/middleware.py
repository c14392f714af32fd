"""The outermost layer of every service: request id, span, metrics, one log line, and the last word on what nobody caught."""

import time

from opentelemetry.trace import SpanKind, use_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.context import REQUEST_ID, sane_request_id
from shared.logging import get_logger, log_request
from shared.metrics import Metrics
from shared.problems import internal_error
from shared.telemetry import Telemetry, extract_context

__all__ = ["RequestMiddleware"]

_log = get_logger("request")
_QUIET = ("/health", "/metrics")


def _route_of(scope: Scope) -> str:
    """For metrics and traces: what a handler says more exactly than its route does, the route, or what stands for one."""
    exact = scope.get("kalpi.route") or getattr(scope.get("route"), "path", None)
    return str(exact or scope.get("state", {}).get("route", "unmatched"))


class RequestMiddleware:
    def __init__(self, app: ASGIApp, telemetry: Telemetry, metrics: Metrics) -> None:
        self._app = app
        self._tracer = telemetry.tracer
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = sane_request_id(headers.get(b"x-request-id"))
        token = REQUEST_ID.set(request_id)
        parent = extract_context(_text(headers.get(b"traceparent")), _text(headers.get(b"tracestate")))
        exchange = _Exchange(send, request_id)
        started = time.perf_counter()
        try:
            with use_span(self._tracer.start_span(scope["method"], parent, SpanKind.SERVER), end_on_exit=True) as span:
                try:
                    await self._app(scope, receive, exchange.send)
                except Exception:  # noqa: BLE001 - the boundary
                    # Nothing above can answer the client, and the traceback belongs in the log, not in the body.
                    _log.exception("unhandled error", path=scope["path"])
                    await exchange.send_internal_error(scope, receive)
                route = _route_of(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes(
                    {
                        "http.request.method": scope["method"],
                        "http.route": route,
                        "http.response.status_code": exchange.status,
                    }
                )
                seconds = time.perf_counter() - started
                path = scope["path"]
                log_request(scope["method"], path, exchange.status, seconds, quiet=path.startswith(_QUIET))
            self._metrics.observe(scope["method"], route, exchange.status, seconds)
        finally:
            REQUEST_ID.reset(token)


class _Exchange:
    """Watches the answer go by: keeps its status, adds the request id."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id_header = (b"x-request-id", request_id.encode("ascii"))
        self._started = False
        self.status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            kept = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
            message = {**message, "headers": [*kept, self._id_header]}
        await self._send(message)

    async def send_internal_error(self, scope: Scope, receive: Receive) -> None:
        self.status = 500
        if self._started:
            return
        response = internal_error(scope["path"])
        await response(scope, receive, self.send)


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value is not None else None
