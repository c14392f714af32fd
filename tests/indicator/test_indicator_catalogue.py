"""The catalogue against TA-Lib itself: everything it says of a function is what the function does."""

import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import talib
from talib import abstract

from indicator_service.domain import catalogue
from indicator_service.domain.catalogue import CATALOGUE, TALIB, find
from indicator_service.domain.engine import compute
from indicator_service.domain.errors import UnknownIndicator
from indicator_service.domain.indicator import Indicator
from indicator_service.domain.inputs import SERIES_TYPES, series_of
from indicator_service.domain.request import Parameters
from indicator_service.domain.talib_info import FUNCTIONS, MA_TYPES
from tests.indicator.samples import any_parameters, call_of, defaults, part, sample, seeded, series, ta_lib, walk

EVERY = pytest.mark.parametrize("indicator", TALIB.values(), ids=list(TALIB))
CUMULATIVE = {"ad", "cumsum", "maxindex", "minindex", "minmaxindex", "nvi", "obv", "pvi", "pvt", "vwap", "wad"}
ON_A_PATH = {"sar", "sarext", "supertrend"}


def with_value(indicator: Indicator, name: str, value: Any) -> Parameters:
    """At the defaults but for one, and for what TA-Lib bounds by it."""
    values = indicator.defaults | {name: value}
    if indicator.name == "mavp" and name != "ma_type":
        values |= {"min_period": value, "max_period": value}
    return Parameters(indicator, values, indicator.series_defaults)


def test_every_function_of_ta_lib_is_there() -> None:
    assert set(TALIB) == {name.lower() for name in talib.get_functions()}
    assert len(TALIB) == 201
    assert sum(indicator.type == "pattern" for indicator in TALIB.values()) == 61


@EVERY
def test_it_says_of_a_function_what_ta_lib_says(indicator: Indicator) -> None:
    info = abstract.Function(call_of(indicator).function).info
    assert (indicator.title, indicator.group) == (info["display_name"], info["group"])
    assert len(indicator.outputs) == len(set(indicator.outputs)) == len(info["output_names"])
    assert [MA_TYPES.get(str(p.default), p.default) for p in indicator.parameters] == list(info["parameters"].values())
    assert indicator.formula
    assert call_of(indicator).function in indicator.reference


def test_the_overlay_speaks_of_nothing_that_ta_lib_does_not_have() -> None:
    overlay = tomllib.loads((Path(catalogue.__file__).parent / "overlay.toml").read_text())
    options = {option.name for info in FUNCTIONS.values() for option in info.options}
    used = {parameter.name for indicator in TALIB.values() for parameter in indicator.parameters}
    assert overlay["functions"].keys() == FUNCTIONS.keys()
    assert overlay["parameters"].keys() <= options
    assert overlay["parameter_aliases"].keys() <= used
    assert overlay["bounds"].keys() <= used
    assert overlay["sources"].keys() <= {entry.get("source") for entry in overlay["functions"].values()}


@EVERY
def test_what_ta_lib_flags_as_unstable_or_dependent_on_its_path_is_called_recursive(indicator: Indicator) -> None:
    flags = set(FUNCTIONS[call_of(indicator).function].flags)
    if flags & {"Function has an unstable period", "Output is path-dependent"}:
        assert indicator.recursive


def test_names_are_snake_case_and_mean_one_thing() -> None:
    named = [name for indicator in CATALOGUE.values() for name in (indicator.name, *indicator.aliases)]
    assert len(named) == len(set(named))
    inner = {name for indicator in CATALOGUE.values() for name in (*indicator.outputs, *(p.name for p in indicator.parameters))}
    assert all(name.isidentifier() and name == name.lower() for name in {*named, *inner})
    assert not [name for name in inner if name.removeprefix("fastk_").endswith("matype") or name.endswith("eperiod")]


def test_names_are_found_by_alias_and_case_and_others_are_hinted_at() -> None:
    assert find("Bollinger_Bands") is CATALOGUE["bbands"]
    assert find("doji") is CATALOGUE["cdldoji"]
    with pytest.raises(UnknownIndicator, match="did you mean rsi"):
        find("rsii")


@EVERY
def test_its_bounds_are_where_ta_lib_begins_to_refuse_or_within_them(indicator: Indicator) -> None:
    bars = part(sample("FB"), slice(3))
    for parameter in indicator.parameters:
        if parameter.choices:
            assert set(parameter.choices) == set(MA_TYPES)
            for choice in parameter.choices:
                ta_lib(with_value(indicator, parameter.name, choice), bars)
            continue
        assert parameter.minimum is not None
        assert parameter.maximum is not None
        for value in (parameter.minimum, parameter.maximum):
            ta_lib(with_value(indicator, parameter.name, value), bars)
        if (parameter.minimum, parameter.maximum) == (0, 100) and parameter.name != "percentile":
            continue  # narrowed: beyond, numbers only overflow
        below, above = (
            (parameter.minimum - 1, parameter.maximum + 1)
            if parameter.type == "int"
            else (math.nextafter(parameter.minimum, -math.inf), math.nextafter(parameter.maximum, math.inf))
        )
        for value in (below, above):
            with pytest.raises(Exception, match="BAD_PARAM"):
                ta_lib(with_value(indicator, parameter.name, value), bars)


def test_the_order_of_two_parameters_is_asked_for_where_ta_lib_would_swap_them() -> None:
    bars = sample("FB")
    for indicator in TALIB.values():
        pair = {"fast_period", "slow_period"}
        if not pair <= indicator.defaults.keys():
            continue
        fast, slow = indicator.defaults["fast_period"], indicator.defaults["slow_period"]
        swapped = Parameters(
            indicator, indicator.defaults | {"fast_period": slow, "slow_period": fast}, indicator.series_defaults
        )
        same = all(map(np.array_equal, ta_lib(swapped, bars), ta_lib(defaults(indicator), bars), [True] * 9))
        assert same == bool(indicator.ordered), indicator.name


@pytest.mark.parametrize("series_type", SERIES_TYPES)
def test_a_series_type_is_what_its_name_says(series_type: str) -> None:
    np.testing.assert_allclose(series_of(sample("IBM"), series_type), series(sample("IBM"), series_type), rtol=1e-15)


@EVERY
def test_the_lookback_is_where_the_first_value_stands(indicator: Indicator) -> None:
    parameters = any_parameters(indicator, seeded(indicator.name))
    bars = walk(1, 900)
    lookback = indicator.lookback(parameters.values)
    for column in ta_lib(parameters, bars):
        assert np.isnan(column[:lookback]).all() if column.dtype.kind == "f" else not column[:lookback].any()
        if column.dtype.kind == "f" and indicator.name not in {"acos", "asin"}:
            assert not np.isnan(column[lookback])


@EVERY
def test_a_value_comes_from_the_bars_up_to_its_own(indicator: Indicator) -> None:
    """Causality, to the last bit: no function of TA-Lib 0.8 looks ahead (FRACTAL marks the bar that confirms a swing)."""
    random_ = seeded(indicator.name)
    bars = walk(3, 900)
    for parameters in (defaults(indicator), any_parameters(indicator, random_), any_parameters(indicator, random_)):
        whole = parameters.computed(bars)
        for cut in (1, 2, *random_.sample(range(3, 900), 6)):
            until = part(bars, slice(cut))
            known = parameters.computed(until)
            for name, column in known.columns.items():
                np.testing.assert_array_equal(column, whole.columns[name][:cut])


def forgets(parameters: Parameters, whole_name: str, starts: range) -> None:
    """After its warm-up a value is, to 1e-6, what it would be from any other start; about zero, to 1e-6 of its usual size."""
    whole = sample(whole_name) if whole_name in {"AAPL", "IBM"} else walk(int(whole_name), 3300, 0.01)
    required = parameters.indicator.warmup(parameters.values)
    assert required is not None
    values = ta_lib(parameters, whole)
    for start in starts:
        for column, partly in zip(values, ta_lib(parameters, part(whole, slice(start, None))), strict=True):
            expected, got = column[start + required :].astype(float), partly[required:].astype(float)
            if len(expected) and not np.isnan(expected).all():
                np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * float(np.nanmedian(np.abs(expected))))


@EVERY
def test_after_its_warmup_a_value_no_longer_depends_on_where_the_input_began(indicator: Indicator) -> None:
    if call_of(indicator).memory == ("forever",):
        assert indicator.name in CUMULATIVE | ON_A_PATH
        assert indicator.warmup(indicator.defaults) is None
        return
    for name in ("AAPL", "1"):
        forgets(defaults(indicator), name, range(50, 1550, 50))


@EVERY
def test_that_holds_for_any_parameters(indicator: Indicator) -> None:
    random_ = seeded(indicator.name)
    for seed in range(2):
        parameters = any_parameters(indicator, random_)
        if indicator.warmup(parameters.values) is not None:
            forgets(parameters, str(seed), range(37, 1600, 311))


@pytest.mark.parametrize("name", sorted(ON_A_PATH))
def test_paths_from_different_starts_do_meet_though_nothing_makes_them(name: str) -> None:
    for bars in (sample("AAPL"), sample("IBM"), walk(1, 3300, 0.01)):
        whole = ta_lib(defaults(CATALOGUE[name]), bars)[0]
        for start in range(50, 1550, 50):
            later = ta_lib(defaults(CATALOGUE[name]), part(bars, slice(start, None)))[0]
            np.testing.assert_allclose(later[200:], whole[start + 200 :], rtol=1e-6)


@EVERY
def test_what_it_calls_recursive_does_remember_more_than_its_lookback(indicator: Indicator) -> None:
    bars = sample("IBM")
    parameters = defaults(indicator)
    if call_of(indicator).memory and call_of(indicator).memory[0].startswith("ma:") and "sma" in indicator.defaults.values():
        parameters = Parameters(
            indicator, {k: "ema" if v == "sma" else v for k, v in parameters.values.items()}, parameters.series
        )
    lookback = indicator.lookback(parameters.values)
    later = ta_lib(parameters, part(bars, slice(1000, None)))
    same = [
        np.allclose(column[1000 + lookback :], partly[lookback:], rtol=1e-7, atol=1e-7, equal_nan=True)
        for column, partly in zip(ta_lib(parameters, bars), later, strict=True)
    ]
    assert all(same) != indicator.recursive


@pytest.mark.parametrize("name", sorted(CUMULATIVE))
def test_what_counts_from_the_first_bar_never_forgets_it(name: str) -> None:
    bars = sample("IBM")
    whole, later = ta_lib(defaults(CATALOGUE[name]), bars)[0], ta_lib(defaults(CATALOGUE[name]), part(bars, slice(99, None)))[0]
    assert whole[-1] != later[-1]
    assert CATALOGUE[name].warmup(CATALOGUE[name].defaults) is None


def test_moving_averages_of_mesa_at_the_end_of_a_chain_promise_nothing() -> None:
    stochrsi = CATALOGUE["stochrsi"]
    assert stochrsi.warmup(stochrsi.defaults | {"fastd_ma_type": "mama"}) is None
    assert CATALOGUE["ma"].warmup({"time_period": 30, "ma_type": "mama"}) is not None


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
    bars = sample("MSFT")
    got = compute(CATALOGUE["rsi"], bars, [bars.close], {"time_period": period}).columns["value"]
    expected = np.array([math.nan if value is None else value for value in wilder_rsi(bars.close.tolist(), period)])
    np.testing.assert_allclose(got, expected, rtol=1e-9)
