"""An indicator computed over all of the bars; of TA-Lib's by TA-Lib itself, on arrays that are already as it wants them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from indicator_service.domain.indicator import Computation, Indicator
from indicator_service.domain.outputs import Column, Outputs
from indicator_service.domain.series import Bars, Floats
from indicator_service.domain.talib_info import FUNCTIONS, MA_TYPES, Value
from indicator_service.domain.warmup import bars_to_forget

__all__ = ["LONG_NS", "RUN_COST", "Column", "Outputs", "TalibCall", "compute", "runs_of"]

LONG_NS = 5_000_000
"""Nanoseconds of a computation that others are not to wait for."""

RUN_COST = 6_000
"""Nanoseconds of one call on a few bars, its arrays cut to size and its values laid in place."""

_SCANNING = frozenset(
    ("AROON", "AROONOSC", "AVGDEV", "CCI", "DONCHIAN", "FRACTAL", "IMI", "KDJ", "MAXINDEX", "MINMAXINDEX", "MININDEX")
) | {"PERCENTILE", "PERCENTRANK", "SMI", "STOCH", "STOCHF", "STOCHRSI", "VHF"}
"""Functions that look at the whole window again at every bar, as measured with windows of 20 and of 2,000."""

_COUNTS_BARS = frozenset(("MAXINDEX", "MININDEX", "MINMAXINDEX"))
"""Their values are places, counted from where the input begins."""


def compute(indicator: Indicator, bars: Bars, inputs: Sequence[Floats], values: Mapping[str, Value]) -> Outputs:
    """`inputs` are the series for the indicator's free inputs, one value for each bar; `values` within the catalogue's bounds.

    Always over the whole history: a value does not depend on the range that was asked for.
    """
    return indicator.work.bound(values)(bars, inputs)


@dataclass(frozen=True, eq=False, slots=True)
class TalibCall:
    """A function of TA-Lib's. `inputs` and `outputs` are those of its indicator, `order` the names of the parameters as TA-Lib
    takes them, `memory` what it remembers beyond its look-back (see warmup.py)."""

    function: str
    call: Callable[..., Any]
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    order: tuple[str, ...]
    memory: tuple[str, ...]

    @property
    def recursive(self) -> bool:
        return bool(self.memory)

    def arguments(self, values: Mapping[str, Value]) -> list[int | float]:
        """The values as TA-Lib takes them, in its order."""
        return [MA_TYPES[value] if isinstance(value, str) else value for value in (values[name] for name in self.order)]

    def lookback(self, values: Mapping[str, Value]) -> int:
        return _lookback(self.function, tuple(self.arguments(values)))

    def warmup(self, values: Mapping[str, Value]) -> int | None:
        return _warmup(self, tuple(values[name] for name in self.order))

    def cost(self, values: Mapping[str, Value]) -> float:
        if self.function == "MAVP":  # averages everything anew for each of its periods
            return 25.0 * (1 + int(values["max_period"]) - int(values["min_period"]))
        steady = 600.0 if self.function.startswith(("HT_", "MAMA")) or "mama" in values.values() else 30.0
        return steady + (5.0 * self.lookback(values) if self.function in _SCANNING else 0.0)

    def bound(self, values: Mapping[str, Value]) -> Computation:
        arguments, lookback, inputs = self.arguments(values), self.lookback(values), self.inputs

        def computed(bars: Bars, free: Sequence[Floats]) -> Outputs:
            given = iter(free)
            arrays = [next(given) if column is None else getattr(bars, column) for column in inputs]
            return self._over(arrays, [series for series in free if not bars.owns(series)], arguments, lookback)

        return computed

    def of(self, series: Sequence[Floats], values: Mapping[str, Value]) -> Outputs:
        """A function whose inputs are all free."""
        return self._over(series, series, self.arguments(values), self.lookback(values))

    def _over(
        self, arrays: Sequence[Floats], doubtful: Sequence[Floats], arguments: Sequence[int | float], lookback: int
    ) -> Outputs:
        """On the arguments of the call. Those that are `doubtful` may lack numbers; columns of bars do not."""
        for series in doubtful:
            # a series is of numbers and NaN, and NaN is greater than all; a product would be quicker, but sends threads of BLAS
            if math.isnan(np.maximum.reduce(series, initial=-np.inf)):
                runs = list(runs_of(doubtful))
                if runs != [(0, len(series))]:
                    return self._by_runs(arrays, arguments, runs, lookback)
        computed = self.call(*arrays, *arguments)
        columns = computed if isinstance(computed, tuple) else (computed,)
        return Outputs(dict(zip(self.outputs, columns, strict=True)), lookback)

    def _by_runs(
        self, arrays: Sequence[Floats], arguments: Sequence[int | float], runs: Sequence[tuple[int, int]], lookback: int
    ) -> Outputs:
        """Each stretch of numbers by itself: a NaN would poison a recursion for ever, or give wrong numbers without a sign."""
        columns, whole = [np.full(len(arrays[0]), np.nan) for _ in self.outputs], set[str]()
        for first, end in runs:
            if end - first <= lookback:
                continue
            computed = self.call(*(array[first:end] for array in arrays), *arguments)
            parts = computed if isinstance(computed, tuple) else (computed,)
            whole.update(name for name, part in zip(self.outputs, parts, strict=True) if part.dtype.kind == "i")
            for column, part in zip(columns, parts, strict=True):
                # in integers 0 stands for no value before the first one
                column[first + lookback : end] = part[lookback:]
                if self.function in _COUNTS_BARS:
                    column[first + lookback : end] += first
        return Outputs(dict(zip(self.outputs, columns, strict=True)), 0, whole=frozenset(whole))


def runs_of(series: Sequence[Floats]) -> Iterator[tuple[int, int]]:
    """The stretches, first to end (exclusive), where all of the series are finite."""
    finite = np.isfinite(series[0])
    for other in series[1:]:
        finite &= np.isfinite(other)
    edges = np.flatnonzero(np.diff(finite, prepend=False, append=False)).tolist()
    return zip(edges[::2], edges[1::2], strict=True)


# both are asked for at every request, mostly with the values of the one before, and take longer than computing does
@lru_cache(4096)
def _lookback(function: str, arguments: tuple[int | float, ...]) -> int:
    return FUNCTIONS[function].lookback(arguments)


@lru_cache(4096)
def _warmup(call: TalibCall, values: tuple[Value, ...]) -> int | None:
    named = dict(zip(call.order, values, strict=True))
    forgets = bars_to_forget(call.memory, named)
    return None if forgets is None else call.lookback(named) + forgets
