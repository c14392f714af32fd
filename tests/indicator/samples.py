"""Bars and parameters to compute with, and TA-Lib asked directly."""

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import talib
from talib import abstract

from indicator_service.domain.engine import Outputs, TalibCall
from indicator_service.domain.indicator import Indicator
from indicator_service.domain.request import Parameters
from indicator_service.domain.series import Bars
from tests.support.sample import PARQUET

COLUMNS = ("open", "high", "low", "close", "volume")
Array = npt.NDArray[Any]


SPLITS = {"AAPL": ("2000-06-21", "2005-02-28"), "MSFT": ("2003-02-18",)}
"""Of the shipped bars, each of two for one."""


@cache
def sample(symbol: str) -> Bars:
    """The shipped bars, adjusted by the rule of the documentation."""
    frame = pl.read_parquet(PARQUET).filter(pl.col("symbol") == symbol).sort("date")
    dates = frame["date"].to_numpy().astype("datetime64[D]")
    ratio = (frame["adj_close"] / frame["close"]).to_numpy()
    prices = {name: frame[name].to_numpy() * (ratio / ratio[-1]) for name in COLUMNS[:4]}
    shares = np.prod([np.where(dates < np.datetime64(day), 2.0, 1.0) for day in SPLITS.get(symbol, ())], axis=0)
    return bars_of(dates, volume=frame["volume"].to_numpy() * shares, **prices, symbol=symbol)


@cache
def walk(seed: int, count: int, deviation: float = 0.02) -> Bars:
    """A random walk."""
    random_ = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random_.normal(0, deviation, count)))
    opened = np.concatenate(([100.0], close[:-1])) * np.exp(random_.normal(0, deviation / 4, count))
    high = np.maximum(opened, close) * np.exp(np.abs(random_.normal(0, deviation / 2, count)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random_.normal(0, deviation / 2, count)))
    dates = np.datetime64("2000-01-01", "D") + np.arange(count)
    return bars_of(dates, open=opened, high=high, low=low, close=close, volume=np.floor(np.exp(random_.normal(13, 1, count))))


def bars_of(dates: Array, symbol: str = "TEST", **columns: Array) -> Bars:
    whole: dict[str, Any] = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in COLUMNS}
    return Bars(symbol=symbol, data_version="v1", date=dates, **whole)


def part(bars: Bars, rows: slice) -> Bars:
    return bars_of(bars.date[rows], **{name: getattr(bars, name)[rows] for name in COLUMNS})


def seeded(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same in every run


def call_of(indicator: Indicator) -> TalibCall:
    assert isinstance(indicator.work, TalibCall)
    return indicator.work


def defaults(indicator: Indicator) -> Parameters:
    return Parameters(indicator, indicator.defaults, indicator.series_defaults)


def any_parameters(indicator: Indicator, random_: random.Random, *, longest: int = 60) -> Parameters:
    """Values anywhere within the bounds, periods up to `longest`; any series."""
    values: dict[str, Any] = {}
    for parameter in indicator.parameters:
        if parameter.choices:
            values[parameter.name] = random_.choice(parameter.choices)
        elif parameter.type == "int":
            values[parameter.name] = random_.randint(int(parameter.minimum or 0), longest)
        elif parameter.type == "date":
            values[parameter.name] = f"{random_.randint(2000, 2013)}-0{random_.randint(1, 9)}-{random_.randint(10, 28)}"
        else:
            values[parameter.name] = random_.uniform(
                max(float(parameter.minimum or 0), -5), min(float(parameter.maximum or 0), 5)
            )
    for order in indicator.ordered:
        low, high = sorted((values[order.first], values[order.second]))
        values |= {order.first: low, order.second: high + 1}
    series = ("open", "high", "low", "close", "volume", "hl2", "hlc3", "hlcc4", "ohlc4")
    return Parameters(indicator, values, tuple(random_.choice(series) for _ in indicator.series_defaults))


def series(bars: Bars, series_type: str) -> Array:
    """What the documentation says a series type is, without the service's code."""
    columns = {name: getattr(bars, name) for name in COLUMNS}
    derived = {
        "hl2": lambda: (bars.high + bars.low) / 2,
        "hlc3": lambda: (bars.high + bars.low + bars.close) / 3,
        "hlcc4": lambda: (bars.high + bars.low + bars.close * 2) / 4,
        "ohlc4": lambda: (bars.high + bars.low + bars.close + bars.open) / 4,
    }
    found: Array = derived[series_type]() if series_type in derived else columns[series_type]
    return found


def ta_lib(parameters: Parameters, bars: Bars) -> tuple[Array, ...]:
    """TA-Lib itself, by its own names of everything."""
    function, given = _asked(parameters)
    free, arrays = iter(parameters.series), []
    for name, source in function.info["input_names"].items():
        arrays += [getattr(bars, column) for column in source] if name == "prices" else [series(bars, next(free))]
    computed = getattr(talib, function.info["name"])(*arrays, **given)
    return computed if isinstance(computed, tuple) else (computed,)


def ta_lib_lookback(parameters: Parameters) -> int:
    """Bars before the first value, as TA-Lib says it."""
    function, given = _asked(parameters)
    function.set_parameters(given)
    return int(function.lookback)


def _asked(parameters: Parameters) -> tuple[Any, dict[str, Any]]:
    """The function with its arguments. Its names are the API's but for underscores."""
    function = abstract.Function(call_of(parameters.indicator).function)
    sent = {name.replace("_", ""): value for name, value in parameters.values.items()}
    return function, {name: _number(sent[name.replace("_", "")]) for name in function.info["parameters"]}


def _number(value: Any) -> Any:
    return getattr(talib.MA_Type, value.upper()) if isinstance(value, str) else value


def rows_of(outputs: Outputs | Mapping[str, Array], begin: int) -> list[tuple[Any, ...]]:
    """Rows as JSON tells them: None for what is no number, or before an integer's first value."""
    columns = outputs.columns if isinstance(outputs, Outputs) else outputs
    listed = []
    for column in columns.values():
        if column.dtype.kind == "i":
            listed.append([None if at < begin else value for at, value in enumerate(column.tolist())])
        else:
            listed.append([value if np.isfinite(value) else None for value in column.tolist()])
    return list(zip(*listed, strict=True))
