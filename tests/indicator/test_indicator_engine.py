"""Values and rows: TA-Lib's to the last bit, the same whatever the range, the page, the order or the format."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicator_service.domain.answer import Scope
from indicator_service.domain.catalogue import CATALOGUE, NAMED, TALIB
from indicator_service.domain.request import Parameters, parse_parameters, parse_request
from indicator_service.domain.rows import json_column, json_rows, numbers_of, table_columns
from shared.formats import table_of
from shared.limits.history import HistoryWindow
from tests.indicator.samples import any_parameters, bars_of, defaults, part, rows_of, sample, seeded, ta_lib, walk
from tests.support.sample import SYMBOLS

COLUMNS = ("open", "high", "low", "close")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_values_are_ta_libs_to_the_last_bit(symbol: str) -> None:
    """Every function, at the defaults and for three random sets of parameters."""
    bars, random_ = sample(symbol), seeded(symbol)
    for indicator in TALIB.values():
        for parameters in (defaults(indicator), *(any_parameters(indicator, random_) for _ in range(3))):
            outputs = parameters.computed(bars)
            for name, expected in zip(indicator.outputs, ta_lib(parameters, bars), strict=True):
                assert outputs.columns[name].dtype == expected.dtype
                np.testing.assert_array_equal(outputs.columns[name], expected, err_msg=f"{parameters}")


@pytest.mark.parametrize("series_type", ["hl2", "hlc3", "hlcc4", "ohlc4"])
def test_a_made_column_that_is_too_large_for_a_number_is_a_hole(series_type: str) -> None:
    prices = np.ones(12)
    prices[3] = 1e308
    bars = bars_of(np.datetime64("2020-01-01") + np.arange(12), open=prices, high=prices, low=prices, close=prices, volume=prices)
    sma = Parameters(CATALOGUE["sma"], {"time_period": 2}, (series_type,))
    values = sma.computed(bars).columns["value"].tolist()
    assert [at for at, value in enumerate(values) if math.isnan(value)] == [0, 3, 4]
    assert {value for value in values if not math.isnan(value)} == {1.0}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_bars_are_enough_to_answer_and_too_few_for_a_value(count: int) -> None:
    bars = part(sample("FB"), slice(count))
    for indicator in CATALOGUE.values():
        outputs = defaults(indicator).computed(bars)
        rows = orjson.loads(json_rows(bars, outputs, slice(0, count), include_ohlc=False))
        assert len(rows) == count
        if indicator.lookback(indicator.defaults) >= count:
            assert {value for row in rows for name, value in row.items() if name != "date"} == {None}, indicator.name


def test_a_period_at_its_bound_has_no_value_and_is_no_danger() -> None:
    bars = sample("FB")
    for indicator in CATALOGUE.values():
        longest = {p.name: int(p.maximum or 0) - (p.name == "fast_period") for p in indicator.parameters if p.type == "int"}
        if longest:
            outputs = Parameters(indicator, indicator.defaults | longest, indicator.series_defaults).computed(bars)
            assert all(len(column) == len(bars) for column in outputs.columns.values())
            assert outputs.begin > len(bars) or indicator.name in {"mavp", *NAMED}


def test_a_call_that_looks_at_long_windows_of_many_bars_is_left_to_a_thread() -> None:
    percentile, bars = CATALOGUE["percentile"], sample("AAPL")
    assert not defaults(percentile).takes_long(bars)
    assert Parameters(percentile, percentile.defaults | {"time_period": 10_000}, percentile.series_defaults).takes_long(bars)


@given(
    name=st.sampled_from(["rsi", "macd", "supertrend", "fractal", "acos", "cdldoji", "ha", "div"]),
    first=st.integers(0, 284),
    length=st.integers(0, 284),
    descending=st.booleans(),
    include_ohlc=st.booleans(),
)
def test_rows_are_the_bytes_of_orjson_on_dicts_and_the_values_of_every_format(
    *, name: str, first: int, length: int, descending: bool, include_ohlc: bool
) -> None:
    bars, indicator = sample("FB"), CATALOGUE[name]
    outputs = defaults(indicator).computed(bars)
    end = min(first + length, len(bars))
    rows = slice(end - 1, first - 1 if first else None, -1) if descending and end > first else slice(first, end)
    ohlc = list(zip(*(getattr(bars, column).tolist() for column in COLUMNS), strict=True)) if include_ohlc else [()] * len(bars)
    whole = [
        dict(zip(("date", *(COLUMNS if include_ohlc else ()), *indicator.outputs), (date, *prices, *values), strict=True))
        for date, prices, values in zip(bars.iso_dates, ohlc, rows_of(outputs, outputs.begin), strict=True)
    ]
    assert json_rows(bars, outputs, rows, include_ohlc=include_ohlc) == orjson.dumps(whole[rows])
    table = table_of(table_columns(bars, outputs, rows, include_ohlc=include_ohlc))
    assert [{**row, "date": str(row["date"])} for row in table.to_dicts()] == whole[rows]


def test_whole_numbers_stay_whole_in_a_table() -> None:
    outputs = defaults(CATALOGUE["supertrend"]).computed(sample("FB"))
    table = table_of(table_columns(sample("FB"), outputs, slice(0, 20), include_ohlc=False))
    assert table.schema == {"date": pl.Date, "supertrend": pl.Float64, "trend": pl.Int32}
    assert table["trend"].null_count() == outputs.begin


@pytest.mark.parametrize("name", ["ht_trendmode", "minmaxindex", "maxindex"])
def test_whole_numbers_stay_whole_on_a_series_with_holes(name: str) -> None:
    bars, indicator = sample("IBM"), CATALOGUE[name]
    late = parse_parameters(indicator, {"series_type": 'from_date(close, "2005-01-03")'})
    outputs, rows = late.computed(bars), slice(1_150, None)
    table = table_of(table_columns(bars, outputs, rows, include_ohlc=False))
    assert {table.schema[output] for output in indicator.outputs} == {pl.Int32}
    listed = [dict(row) for row in table.to_dicts()]
    answered = json_rows(bars, outputs, rows, include_ohlc=False)
    assert b".0" not in answered
    assert orjson.loads(answered) == [{**row, "date": str(row["date"])} for row in listed]
    assert {row[output] is None for row in listed for output in indicator.outputs} == {True, False}
    for output in indicator.outputs:
        assert orjson.loads(json_column(outputs, output, rows)) == table[output].to_list()
        np.testing.assert_array_equal(numbers_of(outputs, output), outputs.columns[output])


@pytest.mark.parametrize("rows", [slice(7, 12), slice(29_999, 29_994, -1), slice(4, None, -1), slice(0, 20_000), slice(3, 3)])
def test_a_few_rows_of_many_bars_are_dated_without_the_dates_of_all(rows: slice) -> None:
    moments = np.datetime64("2012-12-31T14:30:00", "s") + 60 * np.arange(30_000)
    many, prices = replace(walk(3, 30_000), date=moments, zone="America/New_York"), {"include_ohlc": False}
    outputs = defaults(CATALOGUE["sma"]).computed(many)
    answer = json_rows(many, outputs, rows, **prices)
    few = len(range(*rows.indices(len(many)))) < 100
    assert ("iso_dates" in many.__dict__) is not few
    dates = [row["date"] for row in orjson.loads(answer)]
    assert dates == many.iso_dates[rows]
    assert [many.iso_date(at) for at in (0, 29_999)] == [many.iso_dates[0], many.iso_dates[-1]]
    assert json_rows(many, outputs, rows, **prices) == answer


FB_DATES = st.dates(sample("FB").date[0].item(), sample("FB").date[-1].item()) | st.none()


@given(
    start=FB_DATES,
    end=FB_DATES,
    limit=st.integers(1, 70),
    order=st.sampled_from(["asc", "desc"]),
    name=st.sampled_from(["sma", "adx", "minmaxindex", "cdlengulfing"]),
)
def test_a_value_is_the_same_whatever_the_range_the_page_and_the_order(
    *, start: Any, end: Any, limit: int, order: str, name: str
) -> None:
    bars, indicator = sample("FB"), CATALOGUE[name]
    outputs = defaults(indicator).computed(bars)
    whole = dict(zip(bars.iso_dates, rows_of(outputs, outputs.begin), strict=True))
    if start and end and start > end:
        start, end = end, start
    query = {"symbol": "FB", "limit": str(limit), "order": order}
    query |= {"start_date": str(start)} if start else {}
    query |= {"end_date": str(end)} if end else {}
    rows: list[dict[str, Any]] = []
    while True:
        request = parse_request(indicator, query.items())
        scope = Scope(request, bars, HistoryWindow(request.wanted.start, None, clamped=False), "any")
        answer = orjson.loads(scope.document(outputs))
        assert answer["data_points"] == len(answer["data"]) <= limit
        rows += answer["data"]
        if answer["next_cursor"] is None:
            break
        query["cursor"] = answer["next_cursor"]
    wanted = [date for date in whole if (not start or date >= str(start)) and (not end or date <= str(end))]
    assert [row["date"] for row in rows] == (wanted if order == "asc" else wanted[::-1])
    assert all(tuple(row[output] for output in indicator.outputs) == whole[row["date"]] for row in rows)
