"""What is told of each request when it has ended."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from gateway import app as wiring
from gateway.app import create_app
from gateway.domain.requests import CallerRecord, CallRecord, RequestRecord, named_in
from shared.clock import system_clock
from shared.events import EventBus
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.clients import until_cached
from tests.support.http_server import serving


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        ("/api/v1/indicators/rsi", b"symbol=AAPL&limit=5", ("rsi", "AAPL")),
        ("/api/v1/indicators/RSI", b"", ("rsi", "")),
        ("/api/v1/indicators/rsi", b"symbol=%3Cscript%3E", ("rsi", "")),
        ("/api/v1/indicators/rsi", b"symbol=A&symbol=B", ("rsi", "A")),
        ("/api/v1/indicators/batch", b"", ("", "")),
        ("/api/v1/indicators/custom/mine", b"", ("", "")),
        ("/api/v1/indicators", b"symbol=AAPL", ("", "")),
        ("/api/v1/bars/BRK.B", b"symbol=AAPL", ("", "BRK.B")),
        ("/api/v1/symbols/AAPL", b"", ("", "AAPL")),
        ("/api/v1/symbols", b"", ("", "")),
        ("/api/v1/auth/me", b"", ("", "")),
    ],
)
def test_a_request_names_an_indicator_and_a_symbol_by_their_form(path: str, query: bytes, named: tuple[str, str]) -> None:
    assert named_in(path, query) == named


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[RequestRecord]:
    found: list[RequestRecord] = []
    monkeypatch.setattr(wiring, "RequestMetrics", lambda *_: found.append)
    return found


@pytest.fixture
async def gateway(
    records: list[RequestRecord], redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(create_app(settings_for(origin_url, redis_url, nats_url))) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        yield client


async def test_a_record_says_who_asked_for_what_and_what_became_of_it(
    gateway: httpx.AsyncClient, records: list[RequestRecord], origin: Origin, market: Market
) -> None:
    before = system_clock()
    headers, person = origin.new_person("many")
    path = f"/api/v1/indicators/sma?symbol={market.symbol}"
    answer = await gateway.get(path, headers={**headers, "X-Request-ID": "mine"})
    (record,) = records
    assert before <= record.at <= system_clock()
    assert 0 <= record.latency_us < (system_clock() - before).total_seconds() * 1_000_000
    assert record._replace(at=before, latency_us=0) == RequestRecord(
        at=before,
        caller=CallerRecord(
            tenant_id=person["tenant_id"],
            user_id=person["user_id"],
            key_id=person["key_id"],
            session_kind="key",
            tier="many",
            subject=f"user:{person['user_id']}",
        ),
        call=CallRecord(
            method="GET",
            route="/api/v1/indicators",
            indicator="sma",
            symbol=market.symbol,
            status=200,
            cache="bypass" if answer.headers["x-cache"] == "BYPASS" else "miss",
        ),
        latency_us=0,
        units=1,
        bytes_out=len(answer.content),
        request_id="mine",
    )


async def test_a_hit_has_the_same_record_by_either_way(
    gateway: httpx.AsyncClient, records: list[RequestRecord], origin: Origin, market: Market
) -> None:
    headers, _ = origin.new_person("wide")
    path = f"/api/v1/indicators/sma?symbol={market.symbol}"
    await until_cached(gateway, path, headers)
    records.clear()
    for more in ({}, {"Connection": "close"}):
        for condition in ({}, {"If-None-Match": '"v1"'}):
            await gateway.get(path, headers={**headers, **more, **condition, "X-Request-ID": "mine"})
    assert [(record.call.cache, record.units, record.call.status) for record in records] == [("hit", 1, 200), ("hit", 1, 304)] * 2
    same = [record._replace(at=records[0].at, latency_us=0) for record in records]
    assert same[:2] == same[2:]


async def test_what_is_refused_or_costs_nothing_has_spent_nothing(
    gateway: httpx.AsyncClient, records: list[RequestRecord], origin: Origin
) -> None:
    tiny, person = origin.new_person("tiny")
    expected: list[tuple[str, dict[str, str], tuple[int, int, str, str]]] = [
        ("/api/v1/symbols", {}, (401, 0, "", "")),
        ("/api/v1/symbols", tiny, (200, 1, person["user_id"], f"user:{person['user_id']}")),
        ("/api/v1/symbols", tiny, (200, 1, person["user_id"], f"user:{person['user_id']}")),
        ("/api/v1/symbols", tiny, (200, 1, person["user_id"], f"user:{person['user_id']}")),
        ("/api/v1/symbols", tiny, (429, 0, person["user_id"], "")),
        ("/api/v1/auth/me", tiny, (200, 0, person["user_id"], "")),
    ]
    for path, headers, _ in expected:
        await gateway.get(path, headers=headers)
    assert [(one.call.status, one.units, one.caller.user_id, one.caller.subject) for one in records] == [
        told for *_, told in expected
    ]


async def test_a_batch_is_recorded_with_what_it_cost(
    gateway: httpx.AsyncClient, records: list[RequestRecord], origin: Origin
) -> None:
    headers, _ = origin.new_person("many")
    indicators = [{"indicator": "sma"}] * 25
    body = {"constructs": [{"symbol": "AAPL", "interval": "1day", "indicators": indicators}]}
    assert (await gateway.post("/api/v1/indicators/batch", headers=headers, json=body)).status_code == 200
    assert [(one.units, one.call[:2], one.call.cache) for one in records] == [(3, ("POST", "/api/v1/indicators/batch"), "none")]


async def test_the_gateways_own_pages_have_none(gateway: httpx.AsyncClient, records: list[RequestRecord]) -> None:
    assert (await gateway.get("/health/live")).status_code == 200
    assert not records
