"""What a function remembers beyond its look-back, in bars.

A window forgets with its window. A smoothing that weighs the newest value `a` keeps (1 - a)^n of its start after n bars; the bars
of chained ones add up, which is never too short. A term of the overlay's `memory` is one smoothing:

    ema:p        a = 2/(p + 1)                 wilder:p     a = 1/p
    ma:p:t       the moving average of type t  weight:w     a = w
    weight_of:p  a = p/2, the parameter p      bars:n       n bars, measured
    forever      never: counted from the first bar, or on a path that depends on where it began
"""

import math
from collections.abc import Mapping, Sequence

from indicator_service.domain.talib_info import Value

__all__ = ["bars_to_forget"]

_FORGOTTEN = 1e-8
"""A value has converged when its start weighs less: two digits under the 1e-6 it is measured by."""

_ADAPTIVE = {"kama": (2 / 31) ** 2, "mama": 0.05}
"""The weight at their slowest, whatever the period; `mama` with the limits 0.5 and 0.05 that TA-Lib's `TA_MA` gives it."""

_HILBERT = 500
"""Bars after which the Hilbert transform has forgotten its start; the longest of 600 measured was 318."""

_CHAINED = {"ema": 1, "zlema": 1, "dema": 2, "tema": 3, "t3": 6}


def bars_to_forget(memory: Sequence[str], values: Mapping[str, Value]) -> int | None:
    """None: it never does, or nobody can say when."""
    if "forever" in memory:
        return None
    averages = [str(values[term.split(":")[2]]) for term in memory if term.startswith("ma:")]
    if "mama" in averages and len(memory) > 1:
        # it turns on angles: what is still in the fourteenth digit of a smoothing before it may move it by per cents
        return None
    return sum(_forgets(*term.split(":"), values=values) for term in memory)


def _forgets(kind: str, first: str, second: str | None = None, *, values: Mapping[str, Value]) -> int:
    if kind == "bars":
        return int(first)
    if kind == "weight":
        return _after(float(first))
    value = float(values[first])
    if kind == "weight_of":
        return _after(value / 2)
    if kind == "wilder":
        return _after(1 / value)
    if kind == "ema":
        return _after(2 / (value + 1))
    return _of_average(str(values[second or ""]), value)


def _of_average(ma_type: str, period: float) -> int:
    if period <= 1:
        return 0  # averages nothing
    if ma_type in _CHAINED:
        return _CHAINED[ma_type] * _after(2 / (period + 1))
    if ma_type == "rma":
        return _after(1 / period)
    if ma_type in _ADAPTIVE:
        return _after(_ADAPTIVE[ma_type]) + (_HILBERT if ma_type == "mama" else 0)
    return 0


def _after(weight: float) -> int:
    return 0 if weight >= 1 else math.ceil(math.log(_FORGOTTEN) / math.log1p(-weight))
