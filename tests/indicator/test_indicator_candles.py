"""A client's own candles: the answer of stored ones, and a 422 that names bar and column for whatever is unfit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicator_service.domain.answer import Scope
from indicator_service.domain.candles import MOST_BARS, parse_candles
from indicator_service.domain.catalogue import CATALOGUE, TALIB
from indicator_service.domain.indicator import Indicator
from shared.errors import InvalidInput
from shared.limits.history import HistoryWindow
from tests.indicator.samples import COLUMNS, any_parameters, part, rows_of, sample, seeded, ta_lib

EVERYTHING = HistoryWindow(None, None, clamped=False)


def candles(count: int, *columns: str) -> list[dict[str, Any]]:
    bars = part(sample("FB"), slice(count))
    values = [getattr(bars, name).tolist() for name in columns or COLUMNS]
    return [
        {"date": date, **dict(zip(columns or COLUMNS, row, strict=True))}
        for date, row in zip(bars.iso_dates, zip(*values, strict=True), strict=True)
    ]


def answer(indicator: Indicator, body: dict[str, Any]) -> dict[str, Any]:
    request, bars = parse_candles(indicator, orjson.dumps(body))
    outputs = request.parameters.computed(bars)
    document: dict[str, Any] = orjson.loads(Scope(request, bars, EVERYTHING, "any").document(outputs))
    return document


def test_own_candles_are_computed_as_stored_ones() -> None:
    """Every function, by rows or by columns, to the last bit."""
    bars, random_ = sample("FB"), seeded(7)
    rows = candles(len(bars))
    columns = {name: [row[name] for row in rows] for name in ("date", *COLUMNS)}
    for indicator in TALIB.values():
        parameters = any_parameters(indicator, random_)
        sent = random_.choice([rows, columns])
        got = answer(indicator, {"bars": sent, "parameters": parameters.shown})
        expected = dict(zip(indicator.outputs, ta_lib(parameters, bars), strict=True))
        values = rows_of(expected, indicator.lookback(parameters.values))
        assert [tuple(row.values()) for row in got["data"]] == [
            (date, *row) for date, row in zip(bars.iso_dates, values, strict=True)
        ]


def test_columns_that_it_does_not_need_may_be_left_out() -> None:
    assert len(answer(CATALOGUE["sma"], {"bars": candles(40, "close")})["data"]) == 40
    assert len(answer(CATALOGUE["sma"], {"bars": candles(40, "high", "low"), "parameters": {"series_type": "hl2"}})["data"]) == 40
    for body, column in (
        ({"bars": candles(40, "close"), "parameters": {"series_type": "hl2"}}, "high"),
        ({"bars": candles(40, "close"), "include_ohlc": True}, "high"),
    ):
        with pytest.raises(InvalidInput) as refused:
            answer(CATALOGUE["sma"], body)
        assert refused.value.errors[0]["loc"] == ["body", "bars", column]


def test_it_says_whether_enough_were_sent() -> None:
    rsi, required = CATALOGUE["rsi"], CATALOGUE["rsi"].warmup({"time_period": 14})
    assert required is not None
    assert answer(rsi, {"bars": candles(30)})["warmup"] == {"required": required, "used": 29, "converged": False}
    days = range(required + 1)
    bars = {"date": [str(np.datetime64("2000-01-01") + day) for day in days], "close": [10.0 + day % 3 for day in days]}
    assert answer(rsi, {"bars": bars})["warmup"] == {"required": required, "used": required, "converged": True}
    assert answer(CATALOGUE["obv"], {"bars": candles(100)})["warmup"] == {"required": None, "used": 99, "converged": False}


def test_times_keep_their_offset() -> None:
    dates = ["2013-01-02T09:30:00-05:00", "2013-01-02T15:30:00+00:00", "2013-01-02T16:00:00Z"]
    got = answer(CATALOGUE["sma"], {"bars": {"date": dates, "close": [1, 2, 3]}, "parameters": {"time_period": 2}})
    assert got["data"] == [
        {"date": "2013-01-02T09:30:00-05:00", "value": None},
        {"date": "2013-01-02T15:30:00+00:00", "value": 1.5},
        {"date": "2013-01-02T16:00:00+00:00", "value": 2.5},
    ]


def test_prices_and_the_newest_row_first_if_asked_for() -> None:
    got = answer(CATALOGUE["cdldoji"], {"bars": candles(15), "include_ohlc": True, "order": "desc"})
    assert list(got["data"][0]) == ["date", "open", "high", "low", "close", "value"]
    assert got["data"][0]["date"] == got["end_date"] > got["data"][-1]["date"] == got["start_date"]
    assert got["data"][-1]["value"] is None


def changed(at: int, **values: Any) -> Callable[[], Any]:
    def bars() -> Any:
        rows = candles(12)
        rows[at] |= values
        return rows

    return bars


def without(at: int, name: str) -> Callable[[], Any]:
    def bars() -> Any:
        rows = candles(12)
        del rows[at][name]
        return rows

    return bars


@pytest.mark.parametrize(
    ("bars", "loc"),
    [
        (changed(3, close="10.5"), [3, "close"]),
        (changed(3, close=None), [3, "close"]),
        (changed(3, close=True), [3, "close"]),
        (changed(3, close=[1]), [3, "close"]),
        (changed(3, close={}), [3, "close"]),
        (changed(3, close=-1), [3, "close"]),
        (changed(3, close=0), [3, "close"]),
        (changed(11, volume=-0.5), [11, "volume"]),
        (changed(3, adj_close=1), [3, "adj_close"]),
        (without(5, "close"), [5, "close"]),
        (without(5, "date"), [5, "date"]),
        (changed(0, date=None), [0, "date"]),
        (changed(0, date=20130102), [0, "date"]),
        (changed(4, date="2013-02-30"), [4, "date"]),
        (changed(4, date="20130102"), [4, "date"]),
        (changed(4, date="2013-W01-1"), [4, "date"]),
        (changed(4, date="0000-01-01"), [4, "date"]),
        (changed(4, date='2013-01-0"'), [4, "date"]),
        (changed(4, date="2012-05-23"), [4, "date"]),
        (changed(4, date="2012-05-24T10:00:00Z"), [4, "date"]),
        (lambda: [1, 2], [0]),
        (list, []),
        (lambda: None, []),
        (lambda: "AAPL", []),
        (lambda: {"date": ["2013-01-02"], "close": [1, 2]}, ["close"]),
        (lambda: {"date": ["2013-01-02"], "close": 1}, ["close"]),
        (lambda: {"date": ["2013-01-02"], "close": ["x"]}, ["close", 0]),
        (lambda: {"date": ["2013-01-02T10:00:00"], "close": [1]}, ["date", 0]),
        (lambda: {"date": ["2013-01-02T10:00:00.5Z"], "close": [1]}, ["date", 0]),
        (lambda: {"close": [1]}, ["date"]),
        (lambda: {"date": ["2013-01-02"], "price": [1]}, ["price"]),
        (dict, ["date"]),
        (lambda: candles(12, "open"), ["close"]),
        (lambda: [{"date": "2013-01-02", "close": 1}] * (MOST_BARS + 1), []),
        (lambda: {"date": ["2013-01-02"] * (MOST_BARS + 1), "close": [1] * (MOST_BARS + 1)}, []),
    ],
)
def test_what_is_unfit_is_named_by_bar_and_column(bars: Callable[[], Any], loc: list[Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        answer(CATALOGUE["sma"], {"bars": bars()})
    assert refused.value.errors[0]["loc"] == ["body", "bars", *loc]


@pytest.mark.parametrize(
    ("sent", "loc"),
    [
        (b"", ["body"]),
        (b"[]", ["body"]),
        (b'{"bars": [{"date": "2013-01-02", "close": NaN}]}', ["body"]),
        (b'{"bars": [{"date": "2013-01-02", "close": Infinity}]}', ["body"]),
        (b'{"bars": [{"date": "2013-01-02", "close": 1e400}]}', ["body"]),
        (b'{"bars": [{"date": "2013-01-02", "close": 1}], "symbol": "AAPL"}', ["body", "symbol"]),
        (b'{"bars": [{"date": "2013-01-02", "close": 1}], "parameters": []}', ["body", "parameters"]),
        (b'{"bars": [{"date": "2013-01-02", "close": 1}], "parameters": {"nonsense": 1}}', ["body", "parameters", "nonsense"]),
        (b'{"bars": [{"date": "2013-01-02", "close": 1}], "include_ohlc": 1}', ["body", "include_ohlc"]),
        (b'{"parameters": {}}', ["body", "bars"]),
        (b"[" * 100_000, ["body"]),
        (b"\xff", ["body"]),
    ],
)
def test_a_body_that_is_none_is_refused(sent: bytes, loc: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_candles(CATALOGUE["sma"], sent)
    assert refused.value.errors[0]["loc"][: len(loc)] == loc


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["date", *COLUMNS, "x"]), inner, max_size=4),
    max_leaves=12,
)


def said_of(body: dict[str, Any]) -> Any:
    try:
        answer(CATALOGUE["rsi"], body)
    except InvalidInput as refused:
        return refused.errors[0]["loc"][0]
    return "computed"


@given(bars=JSON | st.lists(st.dictionaries(st.sampled_from(["date", "close"]), JSON), max_size=4), parameters=JSON)
def test_whatever_is_sent_is_computed_or_refused(bars: Any, parameters: Any) -> None:
    for body in ({"bars": bars}, {"bars": candles(3), "parameters": parameters}):
        assert said_of(body) in {"computed", "body"}
