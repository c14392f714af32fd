"""Candle patterns over a range and over the market, beside what TA-Lib itself finds."""

import io
from typing import Any

import httpx
import polars as pl
import pytest
import talib
from fastapi import FastAPI

from indicator_service.api import dependencies
from indicator_service.app import NAME
from indicator_service.domain.catalogue import CATALOGUE
from indicator_service.domain.ports import BarSource
from indicator_service.domain.series import Bars
from shared.limits.plans import Entitlements
from tests.support.principals import headers_for, user
from tests.support.sample import SYMBOLS

PATH = "/api/v1/patterns"
_SHAPES = ("doji", "dragonflydoji", "gravestonedoji", "longleggeddoji", "rickshawman", "takuri", "highwave", "spinningtop")
NEUTRAL = {f"cdl{shape}" for shape in _SHAPES}


def expected(bars: Bars) -> list[dict[str, Any]]:
    """Every occurrence, in the order of the bars, then of the names."""
    rows = []
    for name, entry in CATALOGUE.items():
        if entry.type == "pattern":
            values = getattr(talib, name.upper())(bars.open, bars.high, bars.low, bars.close).tolist()
            for date, value in zip(bars.iso_dates, values, strict=True):
                if value:
                    direction = "neutral" if name in NEUTRAL else "bullish" if value > 0 else "bearish"
                    told = {"date": date, "pattern": name, "title": entry.title, "direction": direction}
                    rows.append({**told, "strength": abs(value), "value": value})
    return sorted(rows, key=lambda row: (row["date"], row["pattern"]))


async def stored(app: FastAPI, symbol: str) -> Bars:
    source: BarSource = app.state.source
    return await source.bars(symbol, "1day", "split_dividend")


@pytest.mark.parametrize("symbol", ["FB", "IBM"])
async def test_every_occurrence_is_told_once(client: httpx.AsyncClient, app: FastAPI, symbol: str) -> None:
    answer = await client.get(f"{PATH}/{symbol.lower()}?limit=50000")
    assert answer.status_code == 200, answer.text
    whole = expected(await stored(app, symbol))
    assert answer.json()["data"] == whole
    assert {row["direction"] for row in whole if row["pattern"] == "cdldoji"} == {"neutral"}
    assert answer.headers["surrogate-key"].startswith(f"bars:{symbol}@")


async def test_a_range_and_filters_leave_the_others_out(client: httpx.AsyncClient, app: FastAPI) -> None:
    whole = expected(await stored(app, "IBM"))
    part = (await client.get(f"{PATH}/IBM?start_date=2012-01-03&end_date=2012-06-29&patterns=doji,ENGULFING&order=desc")).json()
    wanted = [
        row for row in whole if "2012-01-03" <= row["date"] <= "2012-06-29" and row["pattern"] in {"cdldoji", "cdlengulfing"}
    ]
    assert part["data"] == wanted[::-1]
    falling = (await client.get(f"{PATH}/IBM?direction=bearish&start_date=2013-01-02")).json()["data"]
    assert falling == [row for row in whole if row["direction"] == "bearish" and row["date"] >= "2013-01-02"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_are_the_whole(client: httpx.AsyncClient, app: FastAPI, order: str) -> None:
    rows: list[Any] = []
    path = f"{PATH}/FB?order={order}&limit=100"
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"{path}&cursor={cursor}" if cursor else path)).json()
        rows += page["data"]
        cursor = page["next_cursor"]
    whole = expected(await stored(app, "FB"))
    assert rows == (whole if order == "asc" else whole[::-1])


@pytest.mark.parametrize(
    "path", [f"{PATH}/FB?limit=7", f"{PATH}?limit=7", f"{PATH}/FB?start_date=2012-06-02&end_date=2012-06-02"]
)
async def test_every_format_tells_the_same(client: httpx.AsyncClient, path: str) -> None:
    rows = (await client.get(path)).json()["data"]
    arrow = await client.get(f"{path}&format=arrow")
    table = pl.read_ipc_stream(io.BytesIO(arrow.content))
    assert table.with_columns(pl.col("date").cast(pl.String)).to_dicts() == rows
    assert table.schema["date"] == pl.Date
    assert pl.read_parquet((await client.get(f"{path}&format=parquet")).content).equals(table)
    assert len((await client.get(f"{path}&format=csv")).text.splitlines()) == len(rows) + 1
    assert ("link" in arrow.headers) == (len(rows) == 7)


async def test_the_market_is_each_symbols_newest_bar(client: httpx.AsyncClient, app: FastAPI) -> None:
    wanted = []
    for symbol in SYMBOLS:
        bars = await stored(app, symbol)
        wanted += [{"symbol": symbol, **row} for row in expected(bars) if row["date"] == bars.iso_dates[-1]]
    assert wanted, "the sample ends with some"
    answer = (await client.get(PATH)).json()
    assert (answer["data"], answer["scanned"]) == (wanted, 5)
    one = (await client.get(f"{PATH}?symbols=ibm,NOSUCH,ibm")).json()
    assert (one["data"], one["scanned"]) == ([row for row in wanted if row["symbol"] == "IBM"], 1)
    strongest = (await client.get(f"{PATH}?sort=strength")).json()["data"]
    assert strongest == sorted(wanted, key=lambda row: -row["strength"])
    backwards = (await client.get(f"{PATH}?order=desc")).json()["data"]
    assert backwards == wanted[::-1]


async def test_the_market_on_a_day_in_the_past(client: httpx.AsyncClient, app: FastAPI) -> None:
    """FB has no bar on that day yet; no dividend or split moves IBM's shapes."""
    day = "2011-06-01"
    then = (await client.get(f"{PATH}?date={day}")).json()
    assert then["scanned"] == 4
    assert {row["date"] for row in then["data"]} == {day}
    alone = (await client.get(f"{PATH}/IBM?as_of={day}&start_date={day}")).json()["data"]
    assert [row for row in then["data"] if row["symbol"] == "IBM"] == [{"symbol": "IBM", **row} for row in alone]
    # a Sunday: nobody has a bar, but each one a newest one before it
    assert (await client.get(f"{PATH}?date=2011-06-05")).json()["scanned"] == 0
    assert (await client.get(f"{PATH}?as_of=2011-06-05")).json()["scanned"] == 4


async def test_pages_of_the_market_are_the_whole(client: httpx.AsyncClient) -> None:
    whole = (await client.get(PATH)).json()["data"]
    first = (await client.get(f"{PATH}?limit=2")).json()
    rest = (await client.get(f"{PATH}?limit=2&cursor={first['next_cursor']}")).json()
    assert first["data"] + rest["data"] == whole[:4]


async def test_large_work_waits_for_its_turn_and_not_for_ever(
    client: httpx.AsyncClient,
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dependencies, "_TURN_S", 0.01)
    await app.state.results.store.free({"IBM": "another"})  # a kept answer takes no turn
    async with app.state.large.of("another", 0.0):
        refused = await client.get(PATH)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (await client.get(f"{PATH}?symbols=IBM")).status_code == 200
    assert (await client.get(PATH)).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["patterns=sma", "patterns=nosuch", "patterns=", "direction=up", "limit=0", "cursor=x", "more=1", "as_of=x", "interval=2h"],
)
async def test_a_bad_question_is_refused(client: httpx.AsyncClient, query: str) -> None:
    for path in (PATH, f"{PATH}/IBM"):
        refused = await client.get(f"{path}?{query}")
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_other_bad_questions_are_refused(client: httpx.AsyncClient) -> None:
    for query in ("symbols=", "symbols=IBM,,FB", "symbols=a%20b", "date=2011-06-01&as_of=2011-06-02", "sort=date"):
        assert (await client.get(f"{PATH}?{query}")).status_code == 422
    assert (await client.get(f"{PATH}/IBM?start_date=2011-06-02&end_date=2011-06-01")).status_code == 422
    assert (await client.get(f"{PATH}/NOSUCH")).status_code == 404


async def test_patterns_are_for_plans_that_have_them(client: httpx.AsyncClient, free: dict[str, str]) -> None:
    without = headers_for(user("premium"), NAME, Entitlements(indicators="all", batch_series=5))
    for path in (PATH, f"{PATH}/IBM"):
        for headers in (free, without):
            refused = await client.get(path, headers=headers)
            assert (refused.status_code, refused.json()["required_tier"]) == (403, "expert")
