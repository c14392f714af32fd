"""The catalogue against TA-Lib itself, and the parameters it lets through."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from indicator_service.domain.answer import answer_of
from indicator_service.domain.catalogue import CATALOGUE, Indicator, Parameter, find
from indicator_service.domain.errors import UnknownIndicator
from indicator_service.domain.request import parse_request
from indicator_service.domain.series import Bars, compute
from shared.errors import InvalidInput
from shared.limits.history import HistoryWindow
from tests.support.sample import SYMBOLS, adjusted

EVERY_PARAMETER = [(indicator, parameter) for indicator in CATALOGUE.values() for parameter in indicator.parameters]
PERIODS = [(indicator, parameter) for indicator, parameter in EVERY_PARAMETER if parameter.type == "int"]
IDS = [f"{indicator.name}.{parameter.name}" for indicator, parameter in EVERY_PARAMETER]


def bars_of(symbol: str) -> Bars:
    sample = adjusted(symbol)
    close = sample.close
    return Bars(symbol, "v1", np.array(sample.dates, "datetime64[D]"), close, close, close, close, close)


def call(indicator: Indicator, close: Any, **changed: Any) -> Any:
    """TA-Lib itself, with its own names."""
    values = {parameter.source: changed.get(parameter.name, parameter.default) for parameter in indicator.parameters}
    return getattr(talib, indicator.function)(close, **values)


def test_the_five_are_there() -> None:
    assert list(CATALOGUE) == ["sma", "ema", "rsi", "macd", "bbands"]


@pytest.mark.parametrize("indicator", CATALOGUE.values(), ids=list(CATALOGUE))
def test_defaults_outputs_and_lookback_are_ta_libs(indicator: Indicator) -> None:
    close = adjusted("IBM").close
    plain = getattr(talib, indicator.function)(close)
    outputs = plain if isinstance(plain, tuple) else (plain,)
    computed = compute(indicator, bars_of("IBM"), "close", indicator.defaults)
    assert len(outputs) == len(indicator.outputs)
    for name, output in zip(indicator.outputs, outputs, strict=True):
        np.testing.assert_array_equal(computed[name], output)
    first = max(int(np.flatnonzero(~np.isnan(output))[0]) for output in outputs)
    assert indicator.lookback(indicator.defaults) == first


@pytest.mark.parametrize(("indicator", "parameter"), PERIODS)
def test_the_bounds_of_a_period_are_where_ta_lib_begins_to_refuse(indicator: Indicator, parameter: Parameter) -> None:
    close = adjusted("FB").close
    for value in (parameter.minimum, parameter.maximum):
        call(indicator, close, **{parameter.name: value})
    for value in (parameter.minimum - 1, parameter.maximum + 1):
        with pytest.raises(Exception, match="BAD_PARAM"):
            call(indicator, close, **{parameter.name: value})


@pytest.mark.parametrize("symbol", SYMBOLS)
@given(data=st.data())
def test_values_are_ta_libs_to_the_last_bit_for_any_parameters(symbol: str, data: st.DataObject) -> None:
    indicator = data.draw(st.sampled_from(list(CATALOGUE.values())))
    values = {
        p.name: data.draw(st.integers(int(p.minimum), 300) if p.type == "int" else st.floats(p.minimum, p.maximum))
        for p in indicator.parameters
    }
    expected = call(indicator, adjusted(symbol).close, **values)
    computed = compute(indicator, bars_of(symbol), "close", values)
    for got, wanted in zip(computed.values(), expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_array_equal(got, wanted)


def wilder_rsi(close: list[float], period: int) -> list[float | None]:
    """Wilder (1978), chapter VI: the first average is a mean, each later one keeps (n - 1)/n of the one before."""
    values: list[float | None] = [None] * period
    changes = [later - earlier for earlier, later in pairwise(close)]
    gain = sum(max(change, 0.0) for change in changes[:period]) / period
    loss = sum(max(-change, 0.0) for change in changes[:period]) / period
    values.append(100 * gain / (gain + loss))
    for change in changes[period:]:
        gain = (gain * (period - 1) + max(change, 0.0)) / period
        loss = (loss * (period - 1) + max(-change, 0.0)) / period
        values.append(100 * gain / (gain + loss))
    return values


@pytest.mark.parametrize("period", [2, 14, 30])
def test_rsi_is_wilders(period: int) -> None:
    close = adjusted("MSFT").close
    got = compute(CATALOGUE["rsi"], bars_of("MSFT"), "close", {"time_period": period})["value"]
    expected = np.array([math.nan if value is None else value for value in wilder_rsi(close.tolist(), period)])
    np.testing.assert_allclose(got, expected, rtol=1e-9)


RECURSIVE: list[tuple[str, dict[str, float], Callable[[Any], Any]]] = [
    ("ema", {"time_period": 20}, lambda close: talib.EMA(close, 20)),
    ("ema", {"time_period": 200}, lambda close: talib.EMA(close, 200)),
    ("rsi", {"time_period": 14}, lambda close: talib.RSI(close, 14)),
    ("macd", {"fast_period": 12, "slow_period": 26, "signal_period": 9}, lambda close: talib.MACD(close, 12, 26, 9)[1]),
    ("macd", {"fast_period": 5, "slow_period": 35, "signal_period": 5}, lambda close: talib.MACD(close, 5, 35, 5)[0]),
    ("sma", {"time_period": 30}, lambda close: talib.SMA(close, 30)),
]


@pytest.mark.parametrize(("name", "values", "function"), RECURSIVE)
def test_after_its_warmup_a_value_no_longer_depends_on_where_the_input_began(
    name: str, values: dict[str, float], function: Callable[[Any], Any]
) -> None:
    close = adjusted("AAPL").close
    whole, required = function(close), find(name).warmup(values)
    for start in range(50, 1600, 50):
        np.testing.assert_allclose(function(close[start:])[required:], whole[start + required :], rtol=1e-6)


def test_names_are_found_by_alias_and_case_and_others_are_hinted_at() -> None:
    assert find("Bollinger_Bands") is CATALOGUE["bbands"]
    with pytest.raises(UnknownIndicator, match="did you mean rsi"):
        find("rsii")


def parsed(name: str, **query: str) -> dict[str, Any]:
    return dict(parse_request(CATALOGUE[name], {"symbol": "AAPL", **query}.items()).values)


def test_aliases_mean_their_parameters() -> None:
    for alias in ("window", "period", "length", "time_period"):
        assert parsed("rsi", **{alias: "9"}) == {"time_period": 9}
    assert parsed("bbands", std_dev="1.5") == {"time_period": 20, "nbdev_up": 1.5, "nbdev_dn": 1.5}
    assert parse_request(CATALOGUE["sma"], [("symbol", "aapl"), ("timeframe", "1week")]).query.interval == "1week"


@pytest.mark.parametrize(("indicator", "parameter"), EVERY_PARAMETER, ids=IDS)
def test_a_parameter_stays_within_its_bounds_and_type(indicator: Indicator, parameter: Parameter) -> None:
    bad = ["", "x", "NaN", "inf", "-inf", "1e400", "true", "9" * 400, "-2147483648"]
    bad += [f"{parameter.minimum - 1}", f"{parameter.maximum + 1}"]
    if parameter.type == "int":
        bad += ["1.5", "3.7e1"]
    for value in bad:
        with pytest.raises(InvalidInput) as refused:
            parsed(indicator.name, **{parameter.name: value})
        assert any(parameter.name in error["loc"] for error in refused.value.errors), value
    # MACD's two periods bound each other
    others = {"fast_period": {"slow_period": "100000"}, "slow_period": {"fast_period": "2"}}.get(parameter.name, {})
    lowest = parameter.minimum + (parameter.name == "slow_period")
    assert parsed(indicator.name, **{parameter.name: str(lowest)}, **others)[parameter.name] == lowest


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ([("symbol", "AAPL"), ("time_period", "3"), ("time_period", "4")], "time_period"),
        ([("symbol", "AAPL"), ("time_period", "3"), ("window", "4")], "window"),
        ([("symbol", "AAPL"), ("nonsense", "4")], "nonsense"),
        ([("symbol", "no symbol")], "symbol"),
        ([], "symbol"),
        ([("symbol", "AAPL"), ("interval", "2day")], "interval"),
        ([("symbol", "AAPL"), ("series_type", "hl2")], "series_type"),
        ([("symbol", "AAPL"), ("start_date", "2013-02-30")], "start_date"),
        ([("symbol", "AAPL"), ("start_date", "2013-02-02"), ("end_date", "2013-02-01")], "start_date"),
        ([("symbol", "AAPL"), ("include_ohlc", "perhaps")], "include_ohlc"),
    ],
)
def test_every_fault_names_its_field(query: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_request(CATALOGUE["rsi"], query)
    assert refused.value.errors[0]["loc"] == ["query", field]


def test_a_fast_average_is_faster_than_the_slow_one() -> None:
    with pytest.raises(InvalidInput, match="fast_period"):
        parsed("macd", fast_period="26", slow_period="12")


@given(
    start=st.dates(adjusted("FB").dates[0], adjusted("FB").dates[-1]) | st.none(),
    end=st.dates(adjusted("FB").dates[0], adjusted("FB").dates[-1]) | st.none(),
    limit=st.integers(1, 70),
    order=st.sampled_from(["asc", "desc"]),
    name=st.sampled_from(list(CATALOGUE)),
)
def test_a_value_is_the_same_whatever_the_range_the_page_and_the_order(
    *, start: Any, end: Any, limit: int, order: str, name: str
) -> None:
    bars, indicator = bars_of("FB"), CATALOGUE[name]
    computed = compute(indicator, bars, "close", indicator.defaults)
    whole = {
        date: {k: None if np.isnan(v[row]) else float(v[row]) for k, v in computed.items()}
        for row, date in enumerate(bars.iso_dates)
    }
    if start and end and start > end:
        start, end = end, start
    query = {"symbol": "FB", "limit": str(limit), "order": order}
    query |= {"start_date": str(start)} if start else {}
    query |= {"end_date": str(end)} if end else {}
    rows: list[dict[str, Any]] = []
    while True:
        request = parse_request(indicator, query.items())
        answer = answer_of(request, bars, computed, HistoryWindow(request.query.start_date, None, clamped=False), "any")
        assert answer["data_points"] == len(answer["data"]) <= limit
        rows += answer["data"]
        if answer["next_cursor"] is None:
            break
        query["cursor"] = answer["next_cursor"]
    wanted = [date for date in whole if (not start or date >= str(start)) and (not end or date <= str(end))]
    assert [row["date"] for row in rows] == (wanted if order == "asc" else wanted[::-1])
    assert all({k: v for k, v in row.items() if k != "date"} == whole[row["date"]] for row in rows)
