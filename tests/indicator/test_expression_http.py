"""Expressions over HTTP, with the real data-service behind."""

import io
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import polars as pl
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicator_service.api.schemas import ExpressionAnswer, ValidationAnswer
from indicator_service.app import NAME
from indicator_service.domain.evaluation import parse_evaluation, validation
from indicator_service.domain.expressions.syntax import MOST_CHARACTERS
from shared.errors import InvalidInput
from shared.limits.plans import Entitlements
from tests.indicator.expression_trees import numbers, truths
from tests.indicator.samples import seeded
from tests.support.principals import headers_for, user

EVALUATE = "/api/v1/expressions/evaluate"
VALIDATE = "/api/v1/expressions/validate"


def candles(count: int) -> list[dict[str, Any]]:
    return [{"date": f"2013-01-{day:02}", "close": 10 + day % 3, "high": 15, "low": 5} for day in range(1, count + 1)]


async def evaluated(client: httpx.AsyncClient, expression: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(EVALUATE, json={"expression": expression, "symbol": "AAPL", **body})
    assert answer.status_code == 200, answer.text
    ExpressionAnswer.model_validate_json(answer.content)
    document: dict[str, Any] = answer.json()
    return document


async def test_an_answer_is_like_an_indicators_and_says_what_was_computed(client: httpx.AsyncClient) -> None:
    document = await evaluated(client, "RSI(14)<30", start_date="2013-02-27")
    version, engine = document["provenance"].pop("data_version"), document["provenance"].pop("engine")
    assert version
    assert engine.startswith("TA-Lib")
    assert document == {
        "symbol": "AAPL",
        "interval": "1day",
        "expression": "RSI(14)<30",
        "parameters": {},
        "type": "boolean",
        "adjustment": "split_dividend",
        "start_date": "2013-02-27",
        "end_date": "2013-03-01",
        "data_points": 3,
        "window": {"tier": "premium", "earliest": None, "clamped": False},
        "warmup": {"required": 263, "used": 3267, "converged": True},
        "provenance": {"formula": "rsi(close, time_period=14) < 30", "as_of": "2013-03-01"},
        "data": [{"date": f"2013-0{day}", "value": False} for day in ("2-27", "2-28", "3-01")],
        "next_cursor": None,
    }


async def test_an_indicator_that_stands_alone_is_that_indicator(client: httpx.AsyncClient) -> None:
    for name, query in (
        ("rsi", "time_period=9"),
        ("macd", "fast_period=8"),
        ("bbands", "ma_type=ema"),
        ("obv", "series_type=hl2"),
    ):
        plain = (await client.get(f"/api/v1/indicators/{name}?symbol=IBM&{query}")).json()
        document = await evaluated(client, f"{name}({query})", symbol="IBM")
        assert document["data"] == plain["data"]
        assert document["warmup"] == plain["warmup"]


async def test_what_is_unknown_is_null(client: httpx.AsyncClient) -> None:
    rows = (await evaluated(client, "close > sma(close, 3)", limit=4))["data"]
    assert [row["value"] is None for row in rows] == [True, True, False, False]
    rows = (await evaluated(client, "1 / (close - close)", limit=2))["data"]
    assert [row["value"] for row in rows] == [None, None]


@pytest.mark.parametrize("expression", ["close > sma(close, 5)", "rsi(sma(close, 3), 5)", "macd()", "cdldoji() > 0"])
async def test_each_format_has_the_same_rows(client: httpx.AsyncClient, expression: str) -> None:
    body = {"symbol": "FB", "limit": 60, "include_ohlc": True}
    document = await evaluated(client, expression, **body)
    answers = {
        written: await client.post(f"{EVALUATE}?format={written}", json={"expression": expression, **body})
        for written in ("csv", "arrow", "parquet")
    }
    tables = {
        "csv": pl.read_csv(answers["csv"].content, try_parse_dates=True, infer_schema_length=None),
        "arrow": pl.read_ipc_stream(answers["arrow"].content),
        "parquet": pl.read_parquet(io.BytesIO(answers["parquet"].content)),
    }
    for written, table in tables.items():
        assert [{**row, "date": str(row["date"])} for row in table.to_dicts()] == document["data"], written
        assert answers[written].headers["x-kalpi-next-cursor"] == document["next_cursor"]


async def test_pages_join_to_the_whole(client: httpx.AsyncClient) -> None:
    expression = "crosses_above(close, ema(close, 10))"
    whole = (await evaluated(client, expression, symbol="FB", order="desc"))["data"]
    rows, cursor = [], None
    while True:
        page = await evaluated(client, expression, symbol="FB", order="desc", limit=100, cursor=cursor)
        rows += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
        # spelt otherwise it is the same series
        expression = "CROSSES_ABOVE(close,EMA(10))"
    assert rows == whole
    stray = (await evaluated(client, "close", symbol="FB", limit=1))["next_cursor"]
    refused = await client.post(EVALUATE, json={"expression": "open", "symbol": "FB", "cursor": stray})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "cursor"])


async def test_constants_are_given_by_name(client: httpx.AsyncClient) -> None:
    document = await evaluated(client, "rsi(n) < limit", parameters={"n": 9, "limit": 25.5}, limit=1)
    assert document["provenance"]["formula"] == "rsi(close, time_period=9) < 25.5"
    assert document["parameters"] == {"n": 9, "limit": 25.5}
    for parameters, loc in (
        ({"close": 1}, ["body", "parameters"]),
        ({"N": 1}, ["body", "parameters", "N", "[key]"]),
        ({"n": True}, ["body", "parameters", "n"]),
        ({"n": [1]}, ["body", "parameters", "n"]),
    ):
        answer = await client.post(EVALUATE, json={"expression": "rsi(n)", "symbol": "FB", "parameters": parameters})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"][: len(loc)] == loc


async def test_own_bars_are_computed_as_stored_ones(client: httpx.AsyncClient) -> None:
    bars = candles(20)
    document = (await client.post(EVALUATE, json={"expression": "close > sma(close, 3)", "bars": bars})).json()
    assert [row["value"] for row in document["data"]][:5] == [None, None, False, False, True]
    assert (document["symbol"], document["interval"], document["provenance"]["data_version"]) == (None, None, None)
    assert document["warmup"] == {"required": 2, "used": 19, "converged": True}
    missing = await client.post(EVALUATE, json={"expression": "obv() > 0", "bars": bars})
    assert (missing.status_code, missing.json()["errors"][0]["loc"]) == (422, ["body", "bars", "volume"])


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"expression": "rsi(1)", "symbol": "AAPL"}, ["body", "expression"]),
        ({"expression": "rsi("}, ["body", "symbol"]),
        ({"expression": "rsi()", "symbol": "AAPL", "bars": []}, ["body", "symbol"]),
        ({"symbol": "AAPL"}, ["body", "expression"]),
        ({"expression": 5, "symbol": "AAPL"}, ["body", "expression"]),
        ({"expression": "close", "symbol": "AAPL", "colour": "red"}, ["body", "colour"]),
        ({"expression": "close", "symbol": "AAPL", "limit": 0}, ["body", "limit"]),
        ({"expression": "close", "symbol": "AAPL", "limit": "5"}, ["body", "limit"]),
        ({"expression": "close", "symbol": "AAPL", "start_date": "2013-01-02", "end_date": "2013-01-01"}, ["body", "start_date"]),
        ({"expression": "close", "bars": []}, ["body", "bars"]),
        ([], ["body"]),
    ],
)
async def test_what_cannot_be_computed_is_refused_by_field(client: httpx.AsyncClient, body: Any, loc: list[str]) -> None:
    answer = await client.post(EVALUATE, json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["loc"] == loc


async def test_a_mistake_is_a_problem_that_points_at_its_column(client: httpx.AsyncClient) -> None:
    answer = await client.post(EVALUATE, json={"expression": "close >\n rsj(14)", "symbol": "AAPL"})
    problem = answer.json()
    assert problem["type"].endswith("invalid-expression")
    assert problem["errors"] == [
        {
            "loc": ["body", "expression"],
            "msg": "there is no function rsj",
            "type": "expression_name",
            "offset": 9,
            "line": 2,
            "column": 2,
            "length": 3,
            "suggestion": "did you mean rsi?",
        }
    ]


async def test_what_may_take_too_long_is_refused_before_it_is_computed(client: httpx.AsyncClient) -> None:
    costly = " + ".join(f"percentile(close, {window})" for window in range(90_000, 90_010))
    refused = await client.post(EVALUATE, json={"expression": costly, "symbol": "AAPL"})
    assert (refused.status_code, refused.json()["errors"][0]["type"]) == (422, "expression_cost")


async def test_validation_says_what_it_is_or_where_it_fails(client: httpx.AsyncClient) -> None:
    good = await client.post(VALIDATE, json={"expression": "rsi(14) < 30 and hl2 > sma(close, 200)"})
    ValidationAnswer.model_validate_json(good.content)
    said = good.json()
    assert said.pop("cost") > 0
    assert said == {
        "valid": True,
        "type": "boolean",
        "outputs": ["value"],
        "canonical": "rsi(close, time_period=14) < 30 and hl2 > sma(close, time_period=200)",
        "lookback": 199,
        "required": 263,
        "columns": ["close", "high", "low"],
        "indicators": ["rsi", "sma"],
        "errors": [],
    }
    bad = await client.post(VALIDATE, json={"expression": "rsi(14) <"})
    ValidationAnswer.model_validate_json(bad.content)
    assert (bad.status_code, bad.json()["valid"], bad.json()["errors"][0]["column"]) == (200, False, 10)
    assert (await client.post(VALIDATE, json={"expression": ["rsi(14)"]})).status_code == 422


async def test_the_plan_has_the_feature_and_each_indicator_inside(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    body = {"expression": "sma(close, 5) > 1", "symbol": "AAPL"}
    refused = await client.post(EVALUATE, json=body, headers=free)
    assert (refused.status_code, refused.json()["required_tier"]) == (403, "expert")
    some = Entitlements(indicators=("sma",), batch_series=5, features=("expressions",))
    few = headers_for(user("pro"), NAME, some)
    assert (await client.post(EVALUATE, json=body, headers=few)).status_code == 200
    inside = await client.post(EVALUATE, json={"expression": "sma(rsi(14), 5) > 1", "symbol": "AAPL"}, headers=few)
    assert (inside.status_code, inside.json()["required_tier"]) == (403, "pro")
    assert "rsi" in inside.json()["detail"]
    assert (await client.post(VALIDATE, json={"expression": "rsi()"}, headers=free)).status_code == 200


async def test_a_window_of_the_plan_holds_for_expressions_too(client: httpx.AsyncClient) -> None:
    short = headers_for(
        user("free"), NAME, Entitlements(indicators="all", history_days=90, batch_series=5, features=("expressions",))
    )
    answer = await client.post(EVALUATE, json={"expression": "sma(close, 200)", "symbol": "AAPL"}, headers=short)
    document = answer.json()
    assert document["window"] == {"tier": "free", "earliest": "2012-12-01", "clamped": True}
    assert document["data"][0]["value"] is not None


async def test_an_indicator_is_computed_on_an_expression(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/indicators/rsi", params={"symbol": "IBM", "series_type": "SMA(close,20)"})
    document = answer.json()
    assert document["parameters"]["series_type"] == "sma(close, time_period=20)"
    assert document["data"] == (await evaluated(client, "rsi(sma(close, 20), 14)", symbol="IBM"))["data"]
    assert document["warmup"]["required"] == 282
    two = await client.get(
        "/api/v1/indicators/correl", params={"symbol": "IBM", "series_type": "roc(close, 1)", "series_type_2": "roc(volume, 1)"}
    )
    assert two.status_code == 200


@pytest.mark.parametrize("series_type", ["close > 1", "5", "macd()", "smaa(close)", "hl3"])
async def test_an_input_that_is_no_series_of_numbers_is_refused(client: httpx.AsyncClient, series_type: str) -> None:
    answer = await client.get("/api/v1/indicators/rsi", params={"symbol": "IBM", "series_type": series_type})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "series_type"])


async def test_an_input_may_be_one_whose_spelling_is_longer_than_may_be_sent(client: httpx.AsyncClient) -> None:
    input_ = "+".join(f"({'+'.join(['bbands().upper'] * 10)})" for _ in range(7))
    answer = await client.get("/api/v1/indicators/sma", params={"symbol": "IBM", "series_type": input_})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["parameters"]["series_type"]) > MOST_CHARACTERS
    assert answer.json()["data"] == (await evaluated(client, f"sma({input_})", symbol="IBM"))["data"]


async def test_what_is_too_costly_is_refused_where_it_was_written(client: httpx.AsyncClient) -> None:
    costly = " + ".join(f"percentrank( close, {60_000 + at} )" for at in range(3))
    asked: dict[str, Any] = {"symbol": "AAPL", "series_type": costly}
    for explain in ("false", "true"):
        answer = await client.get("/api/v1/indicators/sma", params={**asked, "explain": explain})
        assert answer.status_code == 422, explain
        (error,) = answer.json()["errors"]
        assert (error["loc"], error["offset"], error["length"]) == (["query", "series_type"], 0, len(costly))
    (error,) = (await client.post(EVALUATE, json={"symbol": "AAPL", "expression": costly})).json()["errors"]
    assert (error["loc"], error["offset"], error["length"]) == (["body", "expression"], 0, len(costly))


async def test_an_input_needs_the_plan_that_the_expression_needs(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    refused = await client.get("/api/v1/indicators/sma", params={"symbol": "IBM", "series_type": "ema(9)"}, headers=free)
    assert (refused.status_code, refused.json()["required_tier"]) == (403, "expert")
    inside = await client.get("/api/v1/indicators/sma", params={"symbol": "IBM", "series_type": "rsi(9)"}, headers=free)
    assert (inside.status_code, inside.json()["required_tier"]) == (403, "pro")


async def test_documented_examples_work(app: FastAPI, client: httpx.AsyncClient) -> None:
    for path in (EVALUATE, VALIDATE):
        described = app.openapi()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert (await client.post(path, json=described["example"])).status_code == 200


SOUP = [
    *"()[].,+-*/<>",
    "close",
    "rsi(",
    "sma(",
    "macd(",
    ").signal",
    "since(",
    " and ",
    " not ",
    " or ",
    "14",
    "-1",
    "0",
    "'x'",
    "1e308",
]


async def test_whatever_is_written_is_answered_or_refused(client: httpx.AsyncClient) -> None:
    random_, said = seeded("soup"), set()
    for _ in range(150):
        soup = "".join(random_.choices(SOUP, k=random_.randint(1, 9)))
        for expression in (soup, f"where(close > open, {soup}, close / (close - open))"):
            answer = await client.post(EVALUATE, json={"expression": expression, "symbol": "FB", "limit": 3})
            said.add(answer.status_code)
            assert answer.status_code == 200 or answer.json()["errors"][0]["loc"] == ["body", "expression"], expression
    assert said == {200, 422}


async def test_the_largest_expressions_are_answered_or_refused(client: httpx.AsyncClient) -> None:
    for expression in (
        " and ".join(["close > open"] * 100),
        "sma(" * 40 + "1 / (close - open)" + ", 2)" * 40,
        "(" * 2000 + "close" + ")" * 2000,
        "close" + "[-1]" * 1000,
        " + ".join(f"rsi({n})" for n in range(2, 90)),
    ):
        answer = await client.post(EVALUATE, json={"expression": expression, "symbol": "AAPL", "limit": 1})
        assert answer.status_code in {200, 422}


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)


@given(
    body=st.dictionaries(st.sampled_from(["expression", "symbol", "bars", "limit", "cursor", "parameters", "order"]), JSON),
    expression=numbers(2) | truths(2) | st.text(max_size=20),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_is_read_or_refused(body: dict[str, Any], expression: str) -> None:
    for document in (body, {**body, "expression": expression}, {"expression": expression, "bars": candles(5)}):
        try:
            sent = orjson.dumps(document)
        except TypeError:
            continue  # an integer that JSON's reader does not take either
        for read in (parse_evaluation, validation):
            assert loc_of(read, sent) in {None, "body"}


def loc_of(read: Callable[[bytes], Any], sent: bytes) -> Any:
    """Where a fault stood; None without one."""
    try:
        read(sent)
    except InvalidInput as refused:
        return refused.errors[0]["loc"][0]
    return None
