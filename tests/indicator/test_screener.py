"""The screener: the symbols whose newest bar meets a condition, as every other route computes it."""

import io
from typing import Any

import httpx
import polars as pl
import pytest

from indicator_service.api.screener import ScreenAnswer
from indicator_service.app import NAME
from indicator_service.domain import screening
from shared.limits.plans import Entitlements
from tests.support.principals import headers_for, user

PATH = "/api/v1/screener"
SYMBOLS = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


async def screened(client: httpx.AsyncClient, expression: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={"expression": expression, **body})
    assert answer.status_code == 200, answer.text
    ScreenAnswer.model_validate_json(answer.content)
    document: dict[str, Any] = answer.json()
    return document


async def newest(client: httpx.AsyncClient, symbol: str, expression: str, **body: Any) -> Any:
    sent = {"expression": expression, "symbol": symbol, "order": "desc", "limit": 1, **body}
    answer = await client.post("/api/v1/expressions/evaluate", json=sent)
    return answer.json()["data"][0]["value"]


@pytest.mark.parametrize(
    "expression",
    [
        "close > sma(close, 200)",
        "rsi(14) < 50 and close > sma(close, 200)",
        "not rising(close, 2) or macd().histogram > 0",
        "crosses_above(ema(3), ema(5)) or volume > sma(volume, 20)",
        "sma(close, 1000) > 0",
        "close / (close - close) > 1",
    ],
)
@pytest.mark.parametrize("as_of", [None, "2012-10-31"])
async def test_a_symbol_is_found_exactly_when_the_expression_is_true_of_it(
    client: httpx.AsyncClient, expression: str, as_of: str | None
) -> None:
    found = await screened(client, expression, as_of=as_of, columns={"r": "rsi(14)", "up": "close > close[-1]"})
    values = {symbol: await newest(client, symbol, expression, as_of=as_of) for symbol in SYMBOLS}
    assert [row["symbol"] for row in found["data"]] == [symbol for symbol, value in values.items() if value is True]
    assert (found["evaluated"], found["matched"]) == (5, len(found["data"]))
    assert found["unknown"] == sum(value is None for value in values.values())
    for row in found["data"]:
        assert row["date"] == ("2013-03-01" if as_of is None else "2012-10-31")
        assert row["r"] == await newest(client, row["symbol"], "rsi(14)", as_of=as_of)
        assert row["up"] == await newest(client, row["symbol"], "close > close[-1]", as_of=as_of)


async def test_what_is_found_is_sorted_and_cut_after_it_was_counted(client: httpx.AsyncClient) -> None:
    columns = {"price": "close", "slow": "sma(close, 1000)"}
    for order, reverse in (("asc", False), ("desc", True)):
        whole = await screened(client, "true", columns=columns, sort="price", order=order)
        prices = [row["price"] for row in whole["data"]]
        assert prices == sorted(prices, reverse=reverse)
        assert [row["symbol"] for row in (await screened(client, "true", order=order))["data"]] == sorted(
            SYMBOLS, reverse=reverse
        )
        slow = await screened(client, "true", columns=columns, sort="slow", order=order)
        assert slow["data"][-1]["symbol"] == "FB", "without a value it comes last"
    cut = await screened(client, "true", columns=columns, sort="price", limit=2)
    assert (cut["matched"], len(cut["data"])) == (5, 2)


async def test_the_universe_may_be_named(client: httpx.AsyncClient) -> None:
    found = await screened(client, "close > 0", universe=["msft", "NOSUCH", "IBM"])
    assert [row["symbol"] for row in found["data"]] == ["IBM", "MSFT"]
    assert (found["evaluated"], found["missing"]) == (2, {"NOSUCH": "unknown"})
    assert (await screened(client, "close > 0", universe=[]))["evaluated"] == 0
    assert (await screened(client, "close > 0", as_of="1990-01-01"))["evaluated"] == 0


async def test_the_other_formats_have_the_same_rows(client: httpx.AsyncClient) -> None:
    columns = {"r": "rsi(14)", "up": "close > close[-1]", "slow": "sma(close, 1000)"}
    body: dict[str, Any] = {"expression": "close > 0", "columns": columns}
    rows = (await screened(client, **body))["data"]
    arrow = await client.post(f"{PATH}?format=arrow", json=body)
    table = pl.read_ipc_stream(io.BytesIO(arrow.content))
    assert table.schema == {"symbol": pl.String, "date": pl.String, "r": pl.Float64, "up": pl.Boolean, "slow": pl.Float64}
    assert table.to_dicts() == rows
    assert pl.read_parquet((await client.post(f"{PATH}?format=parquet", json=body)).content).equals(table)
    assert (await client.post(f"{PATH}?format=csv", json=body)).text.splitlines()[0] == "symbol,date,r,up,slow"


@pytest.mark.parametrize(
    ("body", "loc", "column"),
    [
        ({"expression": "close"}, ["body", "expression"], 1),
        ({"expression": "close > smaa(3)"}, ["body", "expression"], 9),
        ({"expression": "close >"}, ["body", "expression"], None),
        ({"expression": "close[1] > 0"}, ["body", "expression"], None),
        ({"expression": "true", "columns": {"m": "macd()"}}, ["body", "columns", "m"], 1),
        ({"expression": "true", "columns": {"m": "close +"}}, ["body", "columns", "m"], None),
        ({"expression": "true", "columns": {"date": "close"}}, ["body", "columns"], None),
        ({"expression": "true", "sort": "price"}, ["body", "sort"], None),
        ({"expression": "true", "universe": ["no symbol"]}, ["body", "universe", 0], None),
        ({"expression": "true", "limit": 0}, ["body", "limit"], None),
        ({"expression": "true", "limits": 1}, ["body", "limits"], None),
        ({}, ["body", "expression"], None),
    ],
)
async def test_a_mistake_is_named_with_its_place(
    client: httpx.AsyncClient, body: dict[str, Any], loc: list[Any], column: int | None
) -> None:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert error["loc"] == loc
    if column is not None:
        assert error["column"] == column


async def test_more_than_is_ever_computed_at_once_is_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "MOST_NS", 1000.0)
    answer = await client.post(PATH, json={"expression": "rsi(14) < 30"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "universe"])


@pytest.mark.parametrize(
    ("features", "indicators", "status"),
    [
        (("screener", "expressions"), "all", 200),
        (("expressions",), "all", 403),
        (("screener",), "all", 403),
        (("screener", "expressions"), ("sma",), 403),
    ],
)
async def test_the_plan_has_to_have_it_and_every_indicator_in_it(
    client: httpx.AsyncClient, features: Any, indicators: Any, status: int
) -> None:
    entitled = Entitlements(indicators=indicators, batch_series=5, features=features)
    headers = headers_for(user("pro"), NAME, entitled)
    answer = await client.post(PATH, json={"expression": "sma(3) > 0", "columns": {"r": "rsi(14)"}}, headers=headers)
    assert answer.status_code == status, answer.text


async def test_a_day_before_what_the_tier_sees_is_refused(client: httpx.AsyncClient) -> None:
    entitled = Entitlements(indicators="all", batch_series=5, history_days=90, features=("screener", "expressions"))
    headers = headers_for(user("pro"), NAME, entitled)
    for as_of, status in (("2013-01-02", 200), ("2012-01-02", 403)):
        answer = await client.post(PATH, json={"expression": "sma(3) > 0", "as_of": as_of}, headers=headers)
        assert answer.status_code == status
