"""Indicators that TA-Lib has not, each against its definition written out in NumPy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME, NAMED
from indicator_service.domain.engine import compute
from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.indicator import Indicator, Parameter
from indicator_service.domain.inputs import series_of
from indicator_service.domain.named import Definition, named_indicator
from indicator_service.domain.outputs import Outputs
from indicator_service.domain.request import parse_parameters, parse_request
from indicator_service.domain.series import Bars
from shared.errors import InvalidInput
from tests.indicator.samples import any_parameters, defaults, part, sample, seeded, walk
from tests.indicator.test_indicator_request import with_order

Array = np.ndarray[Any, np.dtype[np.float64]]
EVERY = pytest.mark.parametrize("indicator", NAMED.values(), ids=list(NAMED))


def computed(indicator: Indicator, bars: Bars, series: tuple[str, ...] | None = None, **values: Any) -> Outputs:
    inputs = [series_of(bars, name) for name in series or indicator.series_defaults]
    return compute(indicator, bars, inputs, indicator.defaults | values)


def lag(x: Array, bars: int) -> Array:
    return np.concatenate((np.full(min(bars, len(x)), np.nan), x[: max(0, len(x) - bars)]))


def rolled(x: Array, n: int, how: Callable[[Array], Array]) -> Array:
    """Of the last n values, wherever there are n."""
    values = np.full(len(x), np.nan)
    if len(x) >= n:
        values[n - 1 :] = how(sliding_window_view(x, n))
    return values


def mean(x: Array, n: int) -> Array:
    return rolled(x, n, lambda w: w.mean(axis=1))


def total(x: Array, n: int) -> Array:
    return rolled(x, n, lambda w: w.sum(axis=1))


def high_of(x: Array, n: int) -> Array:
    return rolled(x, n, lambda w: w.max(axis=1))


def low_of(x: Array, n: int) -> Array:
    return rolled(x, n, lambda w: w.min(axis=1))


def deviation(x: Array, n: int) -> Array:
    return rolled(x, n, lambda w: w.std(axis=1))


def smoothed(x: Array, n: int, weight: float) -> Array:
    """Begun with the mean of the first n numbers."""
    values = np.full(len(x), np.nan)
    first = int(np.argmax(~np.isnan(x)))
    if first + n > len(x):
        return values
    last = values[first + n - 1] = x[first : first + n].mean()
    for t in range(first + n, len(x)):
        last = values[t] = last + weight * (x[t] - last)
    return values


def ema(x: Array, n: int) -> Array:
    return smoothed(x, n, 2 / (n + 1))


def wilder(x: Array, n: int) -> Array:
    return smoothed(x, n, 1 / n)


def true_range(b: Bars) -> Array:
    before = lag(b.close, 1)
    ranges = np.maximum(b.high - b.low, np.maximum(abs(b.high - before), abs(b.low - before)))
    ranges[0] = np.nan
    return ranges


def atr(b: Bars, n: int) -> Array:
    return wilder(true_range(b), n)


def rsi(x: Array, n: int) -> Array:
    change = x - lag(x, 1)
    up, down = wilder(np.maximum(change, 0), n), wilder(np.maximum(-change, 0), n)
    return 100 * up / np.where(up + down == 0, np.nan, up + down)


def rank(x: Array, n: int) -> Array:
    """Per cent of the n values before that are below."""
    return rolled(x, n + 1, lambda w: np.where(np.isnan(w).any(axis=1), np.nan, 100 * (w[:, :-1] < w[:, -1:]).mean(axis=1)))


def runs(x: Array) -> Array:
    """Bars in a row up, or down as a negative number."""
    counts = np.full(len(x), np.nan)
    count = 0
    for t in range(1, len(x)):
        sign = int(np.sign(x[t] - x[t - 1]))
        count = 0 if sign == 0 else count + sign if count * sign > 0 else sign
        counts[t] = count
    return counts


def directional(b: Bars, time_period: int) -> tuple[Array, Array, Array]:
    up, down = b.high - lag(b.high, 1), lag(b.low, 1) - b.low
    plus, minus = np.where((up > down) & (up > 0), up, 0.0), np.where((down > up) & (down > 0), down, 0.0)
    n, sums = time_period, []
    for x in (plus, minus, true_range(b)):  # Wilder's sums: of n - 1 bars, then each keeps (n - 1)/n
        values = np.full(len(x), np.nan)
        last = x[1:n].sum()
        for t in range(n, len(x)):
            last = values[t] = last - last / n + x[t]
        sums.append(values)
    p, m = 100 * sums[0] / sums[2], 100 * sums[1] / sums[2]
    return p, m, wilder(100 * abs(p - m) / (p + m), n)


def slope_end(x: Array, n: int) -> Array:
    """The end of the line through the last n values."""
    t = np.arange(n) - (n - 1) / 2
    return rolled(x, n, lambda w: w.mean(axis=1) + (w @ t) / (t @ t) * t[-1])


def smoothed_strength(x: Array, first: int, second: int) -> Array:
    change = x - lag(x, 1)
    return 100 * ema(ema(change, first), second) / ema(ema(abs(change), first), second)


def middle(b: Bars, n: int) -> Array:
    return (high_of(b.high, n) + low_of(b.low, n)) / 2


def typical(b: Bars) -> Array:
    return (b.high + b.low + b.close) / 3


def ichimoku(b: Bars, conversion_period: int, base_period: int, span_b_period: int, displacement: int) -> Any:
    conversion, base = middle(b, conversion_period), middle(b, base_period)
    ahead = displacement - 1
    return conversion, base, lag((conversion + base) / 2, ahead), lag(middle(b, span_b_period), ahead)


def vwap_anchored(b: Bars, anchor: str) -> Any:
    on = b.date >= np.datetime64(anchor)
    volume = np.cumsum(np.where(on, b.volume, 0))
    return (np.where(on, np.cumsum(np.where(on, typical(b) * b.volume, 0)) / np.where(volume == 0, np.nan, volume), np.nan),)


def floor_pivots(b: Bars) -> Any:
    h, low, p = lag(b.high, 1), lag(b.low, 1), lag(typical(b), 1)
    return p, 2 * p - low, 2 * p - h, p + h - low, p - h + low, h + 2 * (p - low), low - 2 * (h - p)


def fibonacci(b: Bars) -> Any:
    p, r = lag(typical(b), 1), lag(b.high - b.low, 1)
    return (p, *(p + sign * part_ * r for part_ in (0.382, 0.618, 1) for sign in (1, -1)))


def camarilla(b: Bars) -> Any:
    c, r = lag(b.close, 1), lag(b.high - b.low, 1)
    return (lag(typical(b), 1), *(c + sign * 1.1 * r / part_ for part_ in (12, 6, 4, 2) for sign in (1, -1)))


def woodie(b: Bars) -> Any:
    h, low = lag(b.high, 1), lag(b.low, 1)
    p = (h + low + 2 * b.open) / 4
    return p, 2 * p - low, 2 * p - h, p + h - low, p - h + low


def demark(b: Bars) -> Any:
    x = np.where(b.close < b.open, b.high + 2 * b.low + b.close, 2 * b.high + b.low + b.close)
    x = lag(np.where(b.close == b.open, b.high + b.low + 2 * b.close, x), 1)
    return x / 4, x / 2 - lag(b.low, 1), x / 2 - lag(b.high, 1)


def choppiness(b: Bars, time_period: int) -> Any:
    height = high_of(b.high, time_period) - low_of(b.low, time_period)
    return (100 * np.log10(total(true_range(b), time_period) / height) / np.log10(time_period),)


def connors_rsi(b: Bars, rsi_period: int, streak_period: int, rank_period: int) -> Any:
    change = 100 * (b.close / lag(b.close, 1) - 1)
    return ((rsi(b.close, rsi_period) + rsi(runs(b.close), streak_period) + rank(change, rank_period)) / 3,)


def eom(b: Bars, time_period: int, divisor: float) -> Any:
    half = (b.high + b.low) / 2
    return (mean((half - lag(half, 1)) * (b.high - b.low) * divisor / b.volume, time_period),)


def kst(b: Bars, **p: Any) -> Any:
    change = [100 * (b.close / lag(b.close, p[f"roc{k}_period"]) - 1) for k in (1, 2, 3, 4)]
    line = sum((k + 1) * mean(change[k], p[f"sma{k + 1}_period"]) for k in range(4))
    return line, mean(np.asarray(line), p["signal_period"])


def percent_b(b: Bars, time_period: int, nbdev: float) -> Any:
    width = nbdev * deviation(b.close, time_period)
    return ((b.close - mean(b.close, time_period) + width) / (2 * width),)


def bandwidth(b: Bars, time_period: int, nbdev: float) -> Any:
    return (100 * 2 * nbdev * deviation(b.close, time_period) / mean(b.close, time_period),)


def chandelier(b: Bars, time_period: int, multiplier: float) -> Any:
    far = multiplier * atr(b, time_period)
    return high_of(b.high, time_period) - far, low_of(b.low, time_period) + far


def chande_kroll(b: Bars, atr_period: int, multiplier: float, stop_period: int) -> Any:
    far = multiplier * atr(b, atr_period)
    return low_of(low_of(b.low, atr_period) + far, stop_period), high_of(high_of(b.high, atr_period) - far, stop_period)


def ulcer_index(b: Bars, time_period: int) -> Any:
    return (np.sqrt(mean((100 * (b.close / high_of(b.close, time_period) - 1)) ** 2, time_period)),)


def historical_volatility(b: Bars, time_period: int, bars_per_year: int) -> Any:
    return (100 * np.sqrt(bars_per_year) * deviation(np.log(b.close / lag(b.close, 1)), time_period),)


def zscore(b: Bars, time_period: int) -> Any:
    return ((b.close - mean(b.close, time_period)) / deviation(b.close, time_period),)


def alligator(b: Bars, **p: int) -> Any:
    half = (b.high + b.low) / 2
    return tuple(lag(wilder(half, p[f"{line}_period"]), p[f"{line}_shift"]) for line in ("jaw", "teeth", "lips"))


def envelope(b: Bars, time_period: int, percent: float, ma_type: str) -> Any:
    average = {"sma": mean, "ema": ema}[ma_type](b.close, time_period)
    return average * (1 + percent / 100), average, average * (1 - percent / 100)


def starc(b: Bars, time_period: int, atr_period: int, multiplier: float) -> Any:
    average, far = mean(b.close, time_period), multiplier * atr(b, atr_period)
    return average + far, average, average - far


def weighted(x: Array) -> Array:
    return (x + 2 * lag(x, 1) + 2 * lag(x, 2) + lag(x, 3)) / 6


def rvgi(b: Bars, time_period: int) -> Any:
    line = total(weighted(b.close - b.open), time_period) / total(weighted(b.high - b.low), time_period)
    return line, weighted(line)


def klinger(b: Bars, fast_period: int, slow_period: int, signal_period: int) -> Any:
    before = lag(typical(b), 1)
    signed = np.where(np.isnan(before), np.nan, np.where(typical(b) >= before, b.volume, -b.volume))
    line = ema(signed, fast_period) - ema(signed, slow_period)
    return line, ema(line, signal_period)


def pmo(b: Bars, first_period: int, second_period: int, signal_period: int) -> Any:
    change = 100 * (b.close / lag(b.close, 1) - 1)
    line = ema(10 * ema(change, first_period - 1), second_period - 1)
    return line, ema(line, signal_period)


def squeeze(b: Bars, time_period: int, nbdev: float, multiplier: float) -> Any:
    average, width = mean(b.close, time_period), multiplier * mean(true_range(b), time_period)
    on = nbdev * deviation(b.close, time_period) < width
    known = ~np.isnan(width)
    return (
        [bool(value) if sure else None for value, sure in zip(on, known, strict=True)],
        slope_end(b.close - (middle(b, time_period) + average) / 2, time_period),
    )


def elder_impulse(b: Bars, time_period: int) -> Any:
    # TA-Lib begins both averages of MACD at the same bar: the fast one with the mean of the last 12 of the first 26
    fast, slow = np.full(len(b), np.nan), ema(b.close, 26)
    fast[14:] = ema(b.close[14:], 12)
    line = fast - slow
    line[:25] = np.nan
    histogram = line - ema(line, 9)
    steps = [x - lag(x, 1) for x in (ema(b.close, time_period), histogram)]
    value = np.where((steps[0] > 0) & (steps[1] > 0), 1.0, np.where((steps[0] < 0) & (steps[1] < 0), -1.0, 0.0))
    return (np.where(np.isnan(steps[0]) | np.isnan(steps[1]), np.nan, value),)


def psychological_line(b: Bars, time_period: int) -> Any:
    up = np.where(b.close > lag(b.close, 1), 1.0, 0.0)
    up[0] = np.nan
    return (100 * mean(up, time_period),)


def disparity(b: Bars, time_period: int, ma_type: str) -> Any:
    return (100 * (b.close / envelope(b, time_period, 0, ma_type)[1] - 1),)


def wavetrend(b: Bars, channel_period: int, average_period: int, signal_period: int) -> Any:
    center = ema(typical(b), channel_period)
    line = ema((typical(b) - center) / (0.015 * ema(abs(typical(b) - center), channel_period)), average_period)
    return line, mean(line, signal_period)


def smi_ergodic(b: Bars, first_period: int, second_period: int, signal_period: int) -> Any:
    line = smoothed_strength(b.close, first_period, second_period)
    return line, ema(line, signal_period), line - ema(line, signal_period)


REFERENCES: Mapping[str, Callable[..., Any]] = {
    "ichimoku": ichimoku,
    "vwap_anchored": vwap_anchored,
    "vwap_rolling": lambda b, time_period: (total(typical(b) * b.volume, time_period) / total(b.volume, time_period),),
    "pivot_points": floor_pivots,
    "pivot_points_fibonacci": fibonacci,
    "pivot_points_camarilla": camarilla,
    "pivot_points_woodie": woodie,
    "pivot_points_demark": demark,
    "choppiness": choppiness,
    "connors_rsi": connors_rsi,
    "eom": eom,
    "kst": kst,
    "percent_b": percent_b,
    "bandwidth": bandwidth,
    "chandelier_exit": chandelier,
    "chande_kroll_stop": chande_kroll,
    "ulcer_index": ulcer_index,
    "dmi": directional,
    "historical_volatility": historical_volatility,
    "zscore": zscore,
    "alligator": alligator,
    "envelope": envelope,
    "starc": starc,
    "rvgi": rvgi,
    "klinger": klinger,
    "pmo": pmo,
    "squeeze": squeeze,
    "elder_impulse": elder_impulse,
    "psychological_line": psychological_line,
    "disparity": disparity,
    "wavetrend": wavetrend,
    "smi_ergodic": smi_ergodic,
}


@EVERY
@pytest.mark.parametrize("name", ["AAPL", "IBM"])
def test_it_is_what_its_definition_says(indicator: Indicator, name: str) -> None:
    bars = sample(name)
    shorter = {key: value + 3 for key, value in indicator.defaults.items() if isinstance(value, int) and value > 1}
    dated = {"anchor": str(bars.date[700])} if "anchor" in indicator.defaults else {}
    for values in ({}, shorter | dated):
        agrees(indicator, bars, values, 1e-7)


@EVERY
@pytest.mark.parametrize("name", ["AAPL", "FB", "GOOG", "IBM"])
def test_at_its_bounds_it_is_what_its_definition_says(indicator: Indicator, name: str) -> None:
    """Each parameter by itself: with the shortest periods too there is a value wherever the definition has one. MSFT once closed
    as the day before but for rounding, of which a deviation of two days is all there is."""
    for parameter in indicator.parameters:
        if parameter.type in {"int", "float"}:
            for value in (parameter.minimum, parameter.maximum):
                agrees(indicator, sample(name), with_order(indicator, parameter, value), 1e-6)


def agrees(indicator: Indicator, bars: Bars, values: Mapping[str, Any], tolerance: float) -> None:
    """With the definition; about zero, to the tolerance of the usual size of a value."""
    outputs = computed(indicator, bars, **values)
    with np.errstate(divide="ignore", invalid="ignore"):  # the definition has no value there
        expected = REFERENCES[indicator.name](bars, **{**indicator.defaults, **values})
    for output, reference in zip(indicator.outputs, expected, strict=True):
        column = outputs.columns[output]
        if output in indicator.truths:
            unknown = outputs.unknown[output]
            assert [None if u else bool(v) for v, u in zip(column, unknown, strict=True)] == reference
        else:
            known = reference[np.isfinite(reference)]
            usual = float(np.median(np.abs(known))) if len(known) else 0.0
            defined = np.where(np.isfinite(reference), reference, np.nan)
            told = np.where(np.isfinite(column), column, np.nan)
            np.testing.assert_allclose(told, defined, rtol=tolerance, atol=tolerance * usual, err_msg=f"{output} of {values}")


@EVERY
def test_a_value_comes_from_the_bars_up_to_its_own(indicator: Indicator) -> None:
    bars, random_ = walk(3, 400), seeded(indicator.name)
    for parameters in (defaults(indicator), any_named(indicator)):
        whole = computed(indicator, bars, parameters.series, **parameters.values)
        for cut in (1, 2, *random_.sample(range(3, 400), 5)):
            known = computed(indicator, part(bars, slice(cut)), parameters.series, **parameters.values)
            for name, column in known.columns.items():
                np.testing.assert_array_equal(column, whole.columns[name][:cut])


def any_named(indicator: Indicator) -> Any:
    if any(parameter.type == "date" for parameter in indicator.parameters):
        return defaults(indicator)
    return any_parameters(indicator, seeded(indicator.name), longest=40)


@EVERY
def test_the_lookback_is_where_the_last_output_begins(indicator: Indicator) -> None:
    outputs = computed(indicator, sample("IBM"))
    firsts = []
    for name, column in outputs.columns.items():
        absent = outputs.unknown[name] if name in indicator.truths else np.isnan(column)
        firsts.append(int(np.argmin(absent)))
    assert max(firsts) <= indicator.lookback(indicator.defaults)
    if indicator.name not in {"squeeze", "connors_rsi"}:
        assert max(firsts) == indicator.lookback(indicator.defaults)


@EVERY
def test_after_its_warmup_a_value_no_longer_depends_on_where_the_bars_began(indicator: Indicator) -> None:
    required, bars = indicator.warmup(indicator.defaults), sample("AAPL")
    if required is None:
        assert indicator.name in {"vwap_anchored", "connors_rsi"}
        return
    whole = computed(indicator, bars)
    for start in (50, 611):
        later = computed(indicator, part(bars, slice(start, None)))
        for name, column in later.columns.items():
            expected = whole.columns[name][start + required :].astype(float)
            scale = float(np.nanmedian(np.abs(expected)))
            np.testing.assert_allclose(column[required:].astype(float), expected, rtol=1e-6, atol=1e-6 * scale)


@EVERY
def test_every_bound_of_its_parameters_is_one_it_can_be_computed_with(indicator: Indicator) -> None:
    bars = sample("FB")
    for at in ("minimum", "maximum"):
        values = {p.name: getattr(p, at) for p in indicator.parameters if p.type in {"int", "float"}}
        assert all(len(column) == len(bars) for column in computed(indicator, bars, **values).columns.values())


def test_none_of_them_has_a_name_of_ta_libs_or_another() -> None:
    names = [name for indicator in FUNCTIONS_BY_NAME.values() for name in (indicator.name,)]
    assert set(NAMED) == set(REFERENCES)
    assert set(NAMED) <= set(names)
    every = [name for indicator in {*FUNCTIONS_BY_NAME.values()} for name in (indicator.name, *indicator.aliases)]
    assert len(every) == len(set(every))


def test_an_anchor_is_a_date() -> None:
    vwap = NAMED["vwap_anchored"]
    assert parse_request(vwap, [("symbol", "AAPL"), ("anchor", "2013-01-02")]).parameters.values == {"anchor": "2013-01-02"}
    for bad in ("", "x", "2013-02-30", "20130102", "2013-01-02T10:00:00"):
        with pytest.raises(InvalidInput) as refused:
            parse_request(vwap, [("symbol", "AAPL"), ("anchor", bad)])
        assert refused.value.errors[0]["loc"] == ["query", "anchor"]
    with pytest.raises(InvalidInput):
        parse_parameters(vwap, {"anchor": 20130102}, "body", "parameters")


def test_one_may_be_defined_like_those_that_are_shipped() -> None:
    """As users will: a name, parameters with defaults, an expression."""
    period = Parameter("length", "int", 10, 2, 500, (), (), "bars")
    own = named_indicator(
        "my_spread", "Mine", Definition({"value": "source - sma(source, length)"}, {}, FUNCTIONS_BY_NAME), [period]
    )
    assert (own.inputs, own.series_defaults, own.lookback({"length": 20})) == ((None,), ("close",), 19)
    bars = sample("FB")
    np.testing.assert_allclose(computed(own, bars).columns["value"], bars.close - mean(bars.close, 10), rtol=1e-9)
    with pytest.raises(InvalidExpression) as refused:
        named_indicator("bad", "Bad", Definition({"value": "smaa(close)"}, {}, FUNCTIONS_BY_NAME))
    assert refused.value.errors[0]["loc"] == ["outputs", "value"]
