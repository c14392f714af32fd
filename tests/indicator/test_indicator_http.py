"""indicator-service over HTTP, with the real data-service behind it."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import talib
from fastapi import FastAPI
from pydantic import SecretStr

from data_service.adapters.dataset import Dataset
from indicator_service.api.schemas import CatalogueAnswer, IndicatorAnswer
from indicator_service.app import NAME, create_app
from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.ports import BarSource
from indicator_service.domain.request import Parameters
from indicator_service.domain.series import Bars
from indicator_service.settings import Settings
from shared.limits.plans import Entitlements
from tests.data.test_data_intraday import SESSIONS, joined, series
from tests.indicator.conftest import Counted
from tests.indicator.samples import COLUMNS
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, Vouched, headers_for, user
from tests.support.sample import adjusted

OWN = [{"date": f"2013-01-{day:02}", "open": 9, "high": 12, "low": 8, "close": 10 + day % 3, "volume": 5} for day in range(1, 29)]


async def stored_bars(app: FastAPI, symbol: str) -> Bars:
    """What the service computes on."""
    source: BarSource = app.state.source
    return await source.bars(symbol, "1day", "split_dividend")


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


async def test_metrics_tell_one_indicator_from_another_by_its_own_name(client: httpx.AsyncClient) -> None:
    for name in ("bollinger_bands", "BBANDS", "nonsense"):
        await client.get(f"/api/v1/indicators/{name}?symbol=GOOG")
    text = (await client.get("/metrics")).text
    counted = [line for line in text.splitlines() if line.startswith("kalpi_http_requests_total{") and "/indicators/" in line]
    routes = {line.split('route="')[1].split('"')[0]: float(line.rpartition(" ")[2]) for line in counted}
    assert routes == {"/api/v1/indicators/bbands": 2, "/api/v1/indicators/{name}": 1}


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
    answer = await client.get("/api/v1/indicators")
    CatalogueAnswer.model_validate_json(answer.content)
    entries = {entry["name"]: entry for entry in answer.json()["data"]}
    tiers = {name: entries[name]["minimum_tier"] for name in ("sma", "ema", "rsi", "macd", "bbands", "cdldoji")}
    assert tiers == {"sma": "free", "ema": "free", "rsi": "pro", "macd": "pro", "bbands": "premium", "cdldoji": "expert"}
    assert entries["bbands"]["outputs"] == ["upper", "middle", "lower"]
    assert entries["obv"]["inputs"] == ["series_type", "volume"]
    assert [p["name"] for p in entries["stoch"]["parameters"]][2] == "slowk_ma_type"
    assert len(entries) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("type=pattern&search=three", 10),
        ("group=cycle%20indicators", 5),
        ("input=volume&group=Overlap%20Studies", ["vwma"]),
        ("search=bollinger", ["bandwidth", "bbands", "percent_b"]),
        ("type=indicator&input=series_type_2", ["add", "beta", "correl", "div", "mavp", "mult", "sub"]),
        ("search=nothing%20like%20it", []),
    ],
)
async def test_the_catalogue_is_filtered(client: httpx.AsyncClient, query: str, names: list[str] | int) -> None:
    found = [entry["name"] for entry in (await client.get(f"/api/v1/indicators?{query}")).json()["data"]]
    assert (found if isinstance(names, list) else len(found)) == names


async def test_patterns_are_for_the_tiers_whose_plan_has_them(client: httpx.AsyncClient) -> None:
    plain = headers_for(user("premium"), NAME, Entitlements(indicators="all", batch_series=5))
    for refused in (
        await client.get("/api/v1/indicators/doji?symbol=AAPL", headers=plain),
        await client.post("/api/v1/indicators/doji", json={"bars": OWN}, headers=plain),
    ):
        assert (refused.status_code, refused.json()["required_tier"]) == (403, "expert")
    assert (await client.get("/api/v1/indicators/sar?symbol=AAPL", headers=plain)).status_code == 200


async def test_every_documented_example_works(app: FastAPI, client: httpx.AsyncClient) -> None:
    document = app.openapi()
    common = document["components"]["parameters"]
    for path, item in document["paths"].items():
        if "get" not in item or not path.startswith("/api/v1/indicators/") or "/custom" in path:
            continue
        described = [common[p["$ref"].rpartition("/")[2]] if "$ref" in p else p for p in item["get"]["parameters"]]
        query = {parameter["name"]: parameter["example"] for parameter in described if "example" in parameter}
        answer = await client.get(path, params={**query, "limit": 5}, headers=headers_for(user("premium"), NAME))
        assert answer.status_code == 200, answer.text
        IndicatorAnswer.model_validate_json(answer.content)
    example = document["paths"]["/api/v1/indicators/{name}"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for name in CATALOGUE:
        answer = await client.post(f"/api/v1/indicators/{name}", json=example, headers=headers_for(user("premium"), NAME))
        assert answer.status_code == 200, answer.text
        IndicatorAnswer.model_validate_json(answer.content)


@pytest.mark.parametrize("name", ["macd", "supertrend", "div"])
async def test_each_format_has_the_same_rows_and_says_the_rest_beside_them(client: httpx.AsyncClient, name: str) -> None:
    path = f"/api/v1/indicators/{name}?symbol=FB&limit=40&include_ohlc=true"
    document = (await client.get(path)).json()
    answers = {written: await client.get(f"{path}&format={written}") for written in ("csv", "arrow", "parquet")}
    tables = {
        "csv": pl.read_csv(answers["csv"].content, try_parse_dates=True, infer_schema_length=None),
        "arrow": pl.read_ipc_stream(answers["arrow"].content),
        "parquet": pl.read_parquet(io.BytesIO(answers["parquet"].content)),
    }
    for written, table in tables.items():
        headers = answers[written].headers
        assert [{**row, "date": str(row["date"])} for row in table.to_dicts()] == document["data"], written
        assert headers["x-kalpi-warmup-used"] == "0"
        assert headers["x-kalpi-warmup-required"] == {"supertrend": "never", "div": "0"}.get(name, "356")
        assert headers["x-kalpi-warmup-converged"] == str(document["warmup"]["converged"]).lower()
        assert headers["x-kalpi-data-version"] == document["provenance"]["data_version"]
        following = await client.get(headers["link"].split(";")[0].strip("<>"))
        assert following.headers["content-type"] == answers[written].headers["content-type"]
    by_accept = await client.get(path, headers={"Accept": "text/csv"})
    assert by_accept.content == answers["csv"].content


async def test_own_candles_get_the_answer_of_stored_ones(app: FastAPI, client: httpx.AsyncClient) -> None:
    bars = await stored_bars(app, "GOOG")
    columns = {"date": bars.iso_dates, **{name: getattr(bars, name).tolist() for name in COLUMNS}}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("rsi", {"time_period": 9}),
        ("macd", {}),
        ("doji", {}),
        ("obv", {"series_type": "hl2"}),
    ]
    for name, parameters in asked:
        stored = await client.get(f"/api/v1/indicators/{name}", params={"symbol": "GOOG", **parameters})
        sent = await client.post(f"/api/v1/indicators/{name}", json={"bars": columns, "parameters": parameters})
        own, theirs = sent.json(), stored.json()
        assert own["data"] == theirs["data"]
        assert own["parameters"] == theirs["parameters"]
        assert (own["symbol"], own["provenance"]["data_version"], own["window"]["clamped"]) == (None, None, False)
        arrow = await client.post(f"/api/v1/indicators/{name}?format=arrow", json={"bars": columns, "parameters": parameters})
        assert pl.read_ipc_stream(arrow.content).to_series(1).to_list() == [list(row.values())[1] for row in own["data"]]
        assert arrow.headers["x-kalpi-warmup-converged"] == str(name != "obv").lower()


async def test_own_candles_of_a_day_keep_their_times(client: httpx.AsyncClient) -> None:
    body = {"bars": {"date": ["2013-01-02T09:30:00-05:00", "2013-01-02T09:31:00-05:00"], "close": [1, 2]}}
    table = pl.read_ipc_stream((await client.post("/api/v1/indicators/cumsum?format=arrow", json=body)).content)
    assert [moment.isoformat() for moment in table["date"].to_list()] == [
        "2013-01-02T14:30:00+00:00",
        "2013-01-02T14:31:00+00:00",
    ]


@pytest.mark.parametrize(
    ("name", "body", "status", "loc"),
    [
        ("nonsense", b"{}", 404, None),
        ("rsi", b"{", 422, ["body"]),
        ("rsi", b'{"bars": [{"date": "2013-01-02", "close": "1"}]}', 422, ["body", "bars", 0, "close"]),
        ("rsi?limit=3", b'{"bars": [{"date": "2013-01-02", "close": 1}]}', 422, ["query", "limit"]),
        ("rsi?format=xml", b'{"bars": [{"date": "2013-01-02", "close": 1}]}', 422, ["query", "format"]),
        ("rsi", b'{"bars": [' + b'{"date": "2013-01-02", "close": 1},' * 60_000 + b"{}]}", 422, ["body", "bars"]),
    ],
    ids=["no such indicator", "no JSON", "a string", "no such parameter", "no such format", "too many"],
)
async def test_unfit_candles_are_a_problem(
    client: httpx.AsyncClient, name: str, body: bytes, status: int, loc: list[Any] | None
) -> None:
    answer = await client.post(f"/api/v1/indicators/{name}", content=body)
    assert answer.status_code == status
    if loc is not None:
        assert answer.json()["errors"][0]["loc"] == loc


@pytest.mark.parametrize(
    "query",
    ["rsi?symbol=AAPL", "macd?symbol=FB&start_date=2012-12-01&limit=20&order=desc", "obv?symbol=IBM&limit=3", "sma?symbol=AAPL"],
)
async def test_an_explanation_says_what_the_run_then_does(
    app: FastAPI, client: httpx.AsyncClient, free: dict[str, str], query: str
) -> None:
    headers = free if query.startswith("sma") else {}
    told = (await client.get(f"/api/v1/indicators/{query}&explain=true", headers=headers)).json()
    run = (await client.get(f"/api/v1/indicators/{query}", headers=headers)).json()
    for figure in ("symbol", "interval", "indicator", "parameters", "adjustment", "data_points", "window", "warmup"):
        assert told[figure] == run[figure], figure
    assert told["values"] == sum(len(row) - 1 for row in run["data"])
    assert told["bars_read"] == len(await stored_bars(app, run["symbol"]))
    assert (told["cost"], told["cached"]) == ({"burst": 1, "day": 1}, False)
    assert "data" not in told


async def test_an_explanation_is_refused_where_the_run_would_be_and_computes_nothing(
    client: httpx.AsyncClient, free: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parameters, "computed", None)
    assert (await client.get("/api/v1/indicators/rsi?symbol=AAPL&explain=true", headers=free)).status_code == 403
    assert (await client.get("/api/v1/indicators/rsi?symbol=AAPL&explain=true&time_period=1")).status_code == 422
    assert (await client.get("/api/v1/indicators/rsi?symbol=NOPE&explain=true")).status_code == 404
    answer = await client.get("/api/v1/indicators/rsi?symbol=AAPL&explain=true")
    assert answer.status_code == 200
    assert "surrogate-key" not in answer.headers


LONG = {"fastk_period": 100_000, "slowk_period": 100_000}


async def test_what_would_take_too_long_is_refused_also_where_it_is_only_explained(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parameters, "computed", None)
    for explain in ("false", "true"):
        answer = await client.get("/api/v1/indicators/stoch", params={"symbol": "AAPL", "explain": explain, **LONG})
        assert answer.status_code == 422, explain
        (error,) = answer.json()["errors"]
        assert (error["loc"], error["type"], error["msg"][:10]) == (["query"], "cost", "too costly")
    bars = await stored_bars(app, "AAPL")
    columns = {"date": bars.iso_dates, **{name: getattr(bars, name).tolist() for name in COLUMNS}}
    answer = await client.post("/api/v1/indicators/stoch", json={"bars": columns, "parameters": LONG})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "parameters"])


async def test_without_bars_there_is_no_answer_and_no_hang(redis_url: str, nats_url: str) -> None:
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=("http://127.0.0.1:1",),
        database_url=SecretStr("postgresql://127.0.0.1:1/nowhere"),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )
    async with running(create_app(settings), Vouched(user(), NAME)) as client:
        answer = await client.get("/api/v1/indicators/sma?symbol=AAPL")
        health = (await client.get("/health")).json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert health["status"] == "degraded"
    assert health["dependencies"]["data-service"] != "ok"


def test_the_document_shows_every_indicator_with_its_parameters() -> None:
    settings = Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=("http://unused",),
        database_url=SecretStr("postgresql://unused/unused"),
        redis_url=SecretStr("redis://unused"),
        nats_url=SecretStr("nats://unused"),
    )
    document = create_app(settings).openapi()
    paths = document["paths"]
    assert len([path for path in paths if path.startswith("/api/v1/indicators")]) == len(CATALOGUE) + 5
    assert list(paths["/api/v1/indicators/{name}"]) == ["post"]
    own = {p["name"]: p for p in paths["/api/v1/indicators/bbands"]["get"]["parameters"] if "name" in p}
    assert own["time_period"]["schema"] == {"default": 20, "maximum": 100000, "minimum": 2, "type": "integer"}
    assert own["ma_type"]["schema"]["enum"][:3] == ["sma", "ema", "wma"]
    assert document["components"]["parameters"]["indicator_symbol"] | {"schema": ...} == {
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
