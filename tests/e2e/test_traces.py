"""One request is one trace, from the edge to the bars."""

import json
import secrets

import httpx

from tests.support.otlp import Receiver, Span
from tests.support.poll import until
from tests.support.stack import Stack


async def test_a_request_is_one_trace_with_every_hop_under_its_caller(
    client: httpx.AsyncClient, stack: Stack, spans: Receiver
) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    headers = {**stack.key("premium"), "traceparent": f"00-{trace}-{caller}-01"}
    answer = await client.get("/api/v1/indicators/rsi?symbol=GOOG&time_period=23", headers=headers)
    assert answer.headers["x-cache"] != "HIT"

    def server(service: str) -> Span | None:
        return next((span for span in spans.trace(trace) if (span.service, span.kind) == (service, "SERVER")), None)

    async def arrived() -> bool:
        services = ("gateway", "indicator-service", "data-service")
        hops = [server(service) for service in services]
        known = {span.span_id for span in spans.trace(trace)} | {caller}
        return all(hops) and all(span.parent_id in known for span in spans.trace(trace))

    await until(arrived, what="the spans of three services")
    by_id = {span.span_id: span for span in spans.trace(trace)}

    def callers(span: Span | None) -> list[str]:
        """The services above a span, nearest first."""
        above: list[str] = []
        while span is not None and (span := by_id.get(span.parent_id)):
            if not above or above[-1] != span.service:
                above.append(span.service)
        return above

    edge = server("gateway")
    assert edge is not None
    assert edge.parent_id == caller
    assert callers(server("indicator-service")) == ["gateway"]
    assert callers(server("data-service")) == ["indicator-service", "gateway"]


async def test_every_service_logs_the_request_with_its_id_and_its_trace(client: httpx.AsyncClient, stack: Stack) -> None:
    request_id, trace = f"trace-{secrets.token_hex(8)}", secrets.token_hex(16)
    headers = {**stack.key("premium"), "X-Request-ID": request_id, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    answer = await client.get("/api/v1/indicators/rsi?symbol=IBM&time_period=29", headers=headers)
    assert answer.headers["x-request-id"] == request_id
    for service in ("gateway", "indicator-service", "data-service"):

        async def logged(log: str = service) -> bool:
            lines = map(json.loads, (stack.home / "logs" / f"{log}.log").read_text().splitlines())
            own = [line["trace_id"] for line in lines if line.get("request_id") == request_id and line["event"] == "request"]
            return own != [] and set(own) == {trace}

        await until(logged, what=f"{service}'s log line")
