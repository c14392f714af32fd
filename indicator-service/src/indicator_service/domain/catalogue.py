"""The catalogue: TA-Lib's own description of each function, and an overlay for what that lacks.

A function is one entry of `_OVERLAY`. Inputs, parameters, defaults, group and look-back come from `talib.abstract`; the overlay
brings the API's names, bounds, the smoothing a recursive function does, and where its formula stands.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from talib import abstract

from indicator_service.domain.errors import UnknownIndicator

__all__ = ["CATALOGUE", "Indicator", "Parameter", "Value", "find"]

Value = int | float
_PERIOD_ALIASES = ("window", "period", "length")
_LONGEST_PERIOD = 100_000
"""TA-Lib's own upper bound of a period (`ta_defs.h`)."""

_FORGOTTEN = 1e-8
"""A recursive value has converged when its start weighs less: two digits under the 1e-6 it is measured by."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`source` is TA-Lib's name; bounds are inclusive."""

    name: str
    source: str
    type: Literal["int", "float"]
    default: Value
    minimum: Value
    maximum: Value
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indicator:
    """`weights` gives, for resolved parameters, the weight of the newest value in each smoothing it chains; () for windows."""

    name: str
    function: str
    title: str
    group: str
    aliases: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    formula: str
    reference: str
    weights: Callable[[Mapping[str, Value]], Sequence[float]]

    @property
    def defaults(self) -> dict[str, Value]:
        return {parameter.name: parameter.default for parameter in self.parameters}

    @property
    def recursive(self) -> bool:
        return bool(self.weights(self.defaults))

    def lookback(self, values: Mapping[str, Value]) -> int:
        """Bars before the first value (TA-Lib's `TA_<NAME>_Lookback`)."""
        function = abstract.Function(self.function)
        function.set_parameters({parameter.source: values[parameter.name] for parameter in self.parameters})
        return int(function.lookback)

    def warmup(self, values: Mapping[str, Value]) -> int:
        """Bars before a value after which it no longer depends on where the input began.

        A window function forgets with its window. A smoothing with weight a keeps (1 - a)^n of its start after n bars; chained
        ones add up. Measured against 1e-6 from 30 starts this is never too short.
        """
        forgetting = (math.ceil(math.log(_FORGOTTEN) / math.log1p(-a)) for a in self.weights(values) if a < 1)
        return self.lookback(values) + sum(forgetting)


@dataclass(frozen=True, slots=True)
class _Overlay:
    """`parameters` maps TA-Lib's names to ours with their bounds; what it leaves out is not offered and keeps its default."""

    name: str
    function: str
    parameters: Mapping[str, tuple[str, Value, Value]]
    outputs: tuple[str, ...]
    formula: str
    reference: str
    aliases: tuple[str, ...] = ()
    weights: Callable[[Mapping[str, Value]], Sequence[float]] = field(default=lambda _: ())


def _span(period: Value) -> float:
    """The weight of an exponential average over `period` bars."""
    return 2 / (period + 1)


_OVERLAY = (
    _Overlay(
        name="sma",
        function="SMA",
        parameters={"timeperiod": ("time_period", 1, _LONGEST_PERIOD)},
        outputs=("value",),
        formula="the mean of the last n values",
        reference="TA-Lib TA_SMA",
    ),
    _Overlay(
        name="ema",
        function="EMA",
        parameters={"timeperiod": ("time_period", 1, _LONGEST_PERIOD)},
        outputs=("value",),
        formula="e(t) = e(t-1) + 2/(n+1) · (x(t) - e(t-1)), begun with the SMA of the first n values",
        reference="TA-Lib TA_EMA",
        weights=lambda values: (_span(values["time_period"]),),
    ),
    _Overlay(
        name="rsi",
        function="RSI",
        parameters={"timeperiod": ("time_period", 2, _LONGEST_PERIOD)},
        outputs=("value",),
        formula="100 · G/(G + L), G and L the mean gain and loss, smoothed by 1/n and begun with the mean of the first n",
        reference="J. Welles Wilder, New Concepts in Technical Trading Systems (1978); TA-Lib TA_RSI",
        weights=lambda values: (1 / values["time_period"],),
    ),
    _Overlay(
        name="macd",
        function="MACD",
        parameters={
            "fastperiod": ("fast_period", 2, _LONGEST_PERIOD),
            "slowperiod": ("slow_period", 2, _LONGEST_PERIOD),
            "signalperiod": ("signal_period", 1, _LONGEST_PERIOD),
        },
        outputs=("macd", "signal", "histogram"),
        formula="macd = EMA(fast) - EMA(slow), both begun on the same bar; signal = EMA of macd; histogram = macd - signal",
        reference="Gerald Appel; TA-Lib TA_MACD",
        weights=lambda values: (_span(values["slow_period"]), _span(values["signal_period"])),
    ),
    _Overlay(
        name="bbands",
        function="BBANDS",
        aliases=("bollinger_bands",),
        parameters={
            "timeperiod": ("time_period", 2, _LONGEST_PERIOD),
            "nbdevup": ("nbdev_up", 0, 100),
            "nbdevdn": ("nbdev_dn", 0, 100),
        },
        outputs=("upper", "middle", "lower"),
        formula="middle = SMA(n); upper and lower lie k population standard deviations of the last n values from it",
        reference="John Bollinger, Bollinger on Bollinger Bands (2001); TA-Lib TA_BBANDS",
    ),
)
_SHARED_ALIASES = {"time_period": _PERIOD_ALIASES, "nbdev_up": ("std_dev",), "nbdev_dn": ("std_dev",)}


def _entry(overlay: _Overlay) -> Indicator:
    info = abstract.Function(overlay.function).info
    parameters = []
    for source, (name, minimum, maximum) in overlay.parameters.items():
        default = info["parameters"][source]
        kind: Literal["int", "float"] = "int" if isinstance(default, int) else "float"
        parameters.append(Parameter(name, source, kind, default, minimum, maximum, _SHARED_ALIASES.get(name, ())))
    return Indicator(
        name=overlay.name,
        function=overlay.function,
        title=info["display_name"],
        group=info["group"],
        aliases=overlay.aliases,
        inputs=tuple(info["input_names"]),
        outputs=overlay.outputs,
        parameters=tuple(parameters),
        formula=overlay.formula,
        reference=overlay.reference,
        weights=overlay.weights,
    )


CATALOGUE: Mapping[str, Indicator] = {overlay.name: _entry(overlay) for overlay in _OVERLAY}
_BY_ANY_NAME = {name: entry for entry in CATALOGUE.values() for name in (entry.name, *entry.aliases)}


def find(name: str) -> Indicator:
    """By name or alias, in any case; `UnknownIndicator`."""
    wanted = name.lower()
    if (entry := _BY_ANY_NAME.get(wanted)) is None:
        raise UnknownIndicator(name[:64], difflib.get_close_matches(wanted, _BY_ANY_NAME, n=3))
    return entry
