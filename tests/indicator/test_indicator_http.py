"""indicator-service over HTTP, with the real data-service behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import talib
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from data_service.adapters.dataset import Dataset
from data_service.app import create_app as create_data_service
from data_service.settings import Settings as DataSettings
from indicator_service.app import NAME, create_app
from indicator_service.settings import Settings
from shared.limits.book import PLANS_KEY
from shared.limits.plans import Entitlements, parse_plans
from shared.store import open_store
from tests.data.test_data_intraday import SESSIONS, joined, series
from tests.support.asgi import running
from tests.support.http_server import serving
from tests.support.principals import PRINCIPAL_KEYS, headers_for, user
from tests.support.sample import adjusted

PLANS = """
anonymous_ip: {quota: 50}
tiers:
  free: {limits: {}, entitlements: {indicators: [sma, ema], history_days: 90, batch_series: 5}}
  pro: {limits: {}, entitlements: {indicators: [sma, ema, rsi, macd], history_days: 365, batch_series: 5}}
  premium: {limits: {}, entitlements: {indicators: all, batch_series: 5}}
"""


class Counted:
    """Counts the calls to an app, by path and status."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.calls: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                self.calls.append((scope["path"], int(str(message["status"]))))
            await send(message)

        await self._app(scope, receive, watched)  # type: ignore[arg-type]  # a message is a mutable mapping


@pytest.fixture
def free() -> dict[str, str]:
    """A free user, vouched for now: a signature holds for 30 s."""
    return headers_for(user("free"), NAME, Entitlements(indicators=("sma", "ema"), history_days=90, batch_series=5))


@pytest.fixture
async def data_service(tmp_path: Path, redis_url: str, nats_url: str) -> AsyncIterator[tuple[Counted, str]]:
    settings = DataSettings(
        principal_keys=SecretStr(PRINCIPAL_KEYS), state_dir=tmp_path, redis_url=SecretStr(redis_url), nats_url=SecretStr(nats_url)
    )
    counted = Counted(create_data_service(settings))
    async with serving(counted) as url:
        yield counted, url


@pytest.fixture
async def client(data_service: tuple[Counted, str], redis_url: str, nats_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """As a premium user."""
    async with open_store(redis_url) as redis:
        await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=(data_service[1],),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )
    async with running(create_app(settings), headers_for(user("premium"), NAME)) as client:
        yield client


async def test_an_answer_explains_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/indicators/rsi?symbol=aapl&start_date=2013-02-27&window=14")
    document = answer.json()
    rows = document.pop("data")
    version = document["provenance"].pop("data_version")
    assert answer.headers["surrogate-key"] == f"bars:AAPL@{version}"
    assert document == {
        "symbol": "AAPL",
        "interval": "1day",
        "indicator": "rsi",
        "parameters": {"time_period": 14, "series_type": "close"},
        "adjustment": "split_dividend",
        "start_date": "2013-02-27",
        "end_date": "2013-03-01",
        "data_points": 3,
        "window": {"tier": "premium", "earliest": None, "clamped": False},
        "warmup": {"required": document["warmup"]["required"], "used": 3267, "converged": True},
        "provenance": {
            "engine": document["provenance"]["engine"],
            "formula": document["provenance"]["formula"],
            "as_of": "2013-03-01",
        },
        "next_cursor": None,
    }
    assert [row["date"] for row in rows] == ["2013-02-27", "2013-02-28", "2013-03-01"]


async def test_what_has_no_value_yet_is_null(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/api/v1/indicators/sma?symbol=FB&time_period=3&limit=4")).json()["data"]
    assert [row["value"] is None for row in rows] == [True, True, False, False]
    long = (await client.get("/api/v1/indicators/sma?symbol=FB&time_period=500")).json()
    assert {row["value"] for row in long["data"]} == {None}
    assert long["warmup"]["converged"] is False


async def test_prices_can_be_asked_for_beside_the_values(client: httpx.AsyncClient) -> None:
    row = (await client.get("/api/v1/indicators/macd?symbol=IBM&order=desc&limit=1&include_ohlc=true")).json()["data"][0]
    assert list(row) == ["date", "open", "high", "low", "close", "macd", "signal", "histogram"]
    assert row["close"] == adjusted("IBM").traded[-1]


async def test_bars_are_fetched_once_and_asked_after_each_time(
    client: httpx.AsyncClient, data_service: tuple[Counted, str]
) -> None:
    for period in (5, 6, 7):
        await client.get(f"/api/v1/indicators/sma?symbol=GOOG&time_period={period}")
    assert data_service[0].calls == [("/internal/v1/bars/GOOG", status) for status in (200, 304, 304)]


async def test_the_same_bytes_are_not_sent_twice(client: httpx.AsyncClient) -> None:
    first = await client.get("/api/v1/indicators/sma?symbol=GOOG")
    again = await client.get("/api/v1/indicators/sma?symbol=GOOG", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/indicators/nonsense?symbol=AAPL", 404),
        ("/api/v1/indicators/rsi?symbol=NOPE", 404),
        ("/api/v1/indicators/rsi", 422),
        ("/api/v1/indicators/rsi?symbol=AAPL&time_period=1", 422),
        ("/api/v1/indicators/rsi?symbol=AAPL&interval=5min", 422),
        ("/api/v1/indicators?colour=red", 422),
        ("/api/v1/indicators/bollinger_bands?symbol=AAPL&std_dev=2", 200),
        ("/api/v1/indicators/RSI?symbol=AAPL", 200),
    ],
)
async def test_what_cannot_be_answered_is_a_problem(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["errors"][0]["loc"][0] == "query"


async def test_a_tier_uses_its_indicators_on_its_days(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    refused = await client.get("/api/v1/indicators/rsi?symbol=AAPL", headers=free)
    assert (refused.status_code, refused.json()["required_tier"]) == (403, "pro")
    bad_first = await client.get("/api/v1/indicators/rsi?symbol=AAPL&time_period=1", headers=free)
    assert bad_first.status_code == 422
    clamped = (await client.get("/api/v1/indicators/sma?symbol=AAPL", headers=free)).json()
    assert clamped["window"] == {"tier": "free", "earliest": "2012-12-01", "clamped": True}
    old = await client.get("/api/v1/indicators/sma?symbol=AAPL&end_date=2012-06-01", headers=free)
    assert (old.status_code, old.json()["required_tier"]) == (403, "pro")


async def test_the_catalogue_says_who_may_use_what(client: httpx.AsyncClient) -> None:
    entries = {entry["name"]: entry for entry in (await client.get("/api/v1/indicators")).json()["data"]}
    assert {name: entry["minimum_tier"] for name, entry in entries.items()} == {
        "sma": "free",
        "ema": "free",
        "rsi": "pro",
        "macd": "pro",
        "bbands": "premium",
    }
    assert entries["bbands"]["outputs"] == ["upper", "middle", "lower"]


async def test_without_bars_there_is_no_answer_and_no_hang(redis_url: str, nats_url: str) -> None:
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=("http://127.0.0.1:1",),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )
    async with running(create_app(settings), headers_for(user(), NAME)) as client:
        answer = await client.get("/api/v1/indicators/sma?symbol=AAPL")
        health = (await client.get("/health")).json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert health["status"] == "degraded"
    assert health["dependencies"]["data-service"] != "ok"


def test_the_document_shows_every_indicator_with_its_parameters() -> None:
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=("http://unused",),
        redis_url=SecretStr("redis://unused"),
        nats_url=SecretStr("nats://unused"),
    )
    paths = create_app(settings).openapi()["paths"]
    assert "/api/v1/indicators/{name}" not in paths
    parameters = {p["name"]: p for p in paths["/api/v1/indicators/bbands"]["get"]["parameters"]}
    assert parameters["time_period"]["schema"] == {"default": 20, "maximum": 100000, "minimum": 2, "type": "integer"}
    assert parameters["symbol"] | {"schema": ...} == {
        "name": "symbol",
        "in": "query",
        "required": True,
        "schema": ...,
        "description": "in capitals or not",
        "example": "AAPL",
    }


async def test_bars_of_less_than_a_day_bear_their_beginning(
    client: httpx.AsyncClient, tmp_path: Path, data_service: tuple[Counted, str]
) -> None:
    dataset = Dataset(tmp_path, None)
    dataset.open(as_it_is=True)
    parts = series(SESSIONS)
    dataset.commit(lambda _now: parts)
    asked = "/api/v1/indicators/rsi?symbol=AAPL&interval=5min&start_date=2024-03-08&limit=50"
    rows: list[dict[str, object]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"{asked}&cursor={cursor}" if cursor else asked)).json()
        rows += page["data"]
        cursor = page["next_cursor"]
    assert [row["date"] for row in rows][:2] == ["2024-03-08T09:30:00-05:00", "2024-03-08T09:35:00-05:00"]
    assert rows[78]["date"] == "2024-03-11T09:30:00-04:00"
    closes = joined(parts)["close"][4::5]
    assert [row["value"] for row in rows] == talib.RSI(np.ascontiguousarray(closes), 14)[78:].tolist()
