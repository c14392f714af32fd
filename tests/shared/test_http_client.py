"""Calls between services: signed for the one they go to, traced, and never a hang."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.trace import format_span_id
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import system_clock
from shared.context import REQUEST_ID
from shared.errors import Unauthenticated, Unavailable
from shared.http_client import ServiceClient
from shared.principal import HEADER, EnvelopeSigner, EnvelopeVerifier, KeyRing
from shared.telemetry import Telemetry, extract_context
from tests.support.http_server import serving
from tests.support.principals import PRINCIPAL_KEYS

KEYS = KeyRing.parse(PRINCIPAL_KEYS)
NOWHERE = "http://127.0.0.1:1"


async def echo(request: Request) -> Response:
    return JSONResponse({"headers": dict(request.headers), "query": str(request.query_params)})


async def fail(_request: Request) -> Response:
    return Response("a stack trace", 500)


async def hang(_request: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


APP = Starlette(routes=[Route("/echo", echo), Route("/fail", fail), Route("/hang", hang)])


@asynccontextmanager
async def client_of(*urls: str) -> AsyncIterator[ServiceClient]:
    client = ServiceClient(
        urls,
        caller="indicator-service",
        audience="data-service",
        signer=EnvelopeSigner(KEYS, system_clock),
        telemetry=Telemetry("test", ""),
        timeout_s=2.0,
    )
    async with client:
        yield client


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(APP) as url:
        yield url


async def test_a_call_is_signed_for_its_audience_alone(url: str) -> None:
    async with client_of(url) as client:
        sent = (await client.get("/echo")).json()["headers"]
    header = sent[HEADER.lower()]
    envelope = EnvelopeVerifier(KEYS, "data-service", system_clock).verify(header)
    assert (envelope.principal.kind, envelope.principal.user_id) == ("service", "svc:indicator-service")
    with pytest.raises(Unauthenticated):
        EnvelopeVerifier(KEYS, "auth-service", system_clock).verify(header)


async def test_a_call_carries_the_request_id_and_the_trace(url: str) -> None:
    token = REQUEST_ID.set("mine-1")
    tracer = Telemetry("caller", "").tracer
    async with client_of(url) as client:
        with tracer.start_as_current_span("outer", extract_context("00-" + "a" * 32 + "-" + "b" * 16 + "-01")):
            sent = (await client.get("/echo", params={"q": "1"})).json()
    REQUEST_ID.reset(token)
    assert sent["headers"]["x-request-id"] == "mine-1"
    _, trace, span, _ = sent["headers"]["traceparent"].split("-")
    assert trace == "a" * 32
    assert span != format_span_id(int("b" * 16, 16))
    assert sent["query"] == "q=1"


@pytest.mark.parametrize("path", ["/fail", "/hang"])
async def test_an_unwell_service_is_unavailable_and_tells_nothing(url: str, path: str) -> None:
    async with client_of(url) as client:
        with pytest.raises(Unavailable) as refused:
            await client.get(path)
    assert "stack" not in refused.value.detail


async def test_a_service_that_is_away_is_unavailable() -> None:
    async with client_of(NOWHERE) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.get("/echo")


async def test_another_instance_answers_for_one_that_is_away(url: str) -> None:
    async with client_of(NOWHERE, url, NOWHERE) as client:
        assert [(await client.get("/echo")).status_code for _ in range(6)] == [200] * 6


async def test_a_status_below_500_is_the_callers_to_read(url: str) -> None:
    async with client_of(url) as client:
        assert (await client.get("/nowhere")).status_code == 404
