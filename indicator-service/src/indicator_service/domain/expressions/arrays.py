"""What the language does to arrays: each operation on a whole series, or on the newest values of many, a row for each.

A series of numbers is a float64 array in which NaN is the one missing value, or a float, the same at each bar; one of booleans is
`Truths`. Bars are the last axis. Operations at one bar do not ask how long it is; the others look back as far as their `reach` in
builtins.py. Those that look back on everything are on whole series alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from indicator_service.domain.outputs import Outputs, Truths
from indicator_service.domain.series import Floats

__all__ = [
    "ARITHMETIC",
    "COMPARISONS",
    "Numbers",
    "both",
    "crossing",
    "either",
    "extreme",
    "finite",
    "inverted",
    "lagged",
    "moving",
    "newest",
    "output_of",
    "since",
    "stacked",
    "streak",
    "tail",
    "where",
]

Numbers = Floats | float


def finite(series: Any) -> Any:
    """An infinity is no number either; truths are what they are."""
    if isinstance(series, Truths):
        return series
    infinite = np.isinf(series)
    return np.where(infinite, np.nan, series) if infinite.any() else series


ARITHMETIC: Mapping[str, Callable[[Numbers, Numbers], Floats]] = {
    "+": lambda a, b: finite(np.add(a, b)),
    "-": lambda a, b: finite(np.subtract(a, b)),
    "*": lambda a, b: finite(np.multiply(a, b)),
    "/": lambda a, b: finite(np.divide(a, b)),
}

# a comparison with NaN is false, so with both directions asked it is neither
COMPARISONS: Mapping[str, Callable[[Numbers, Numbers], Truths]] = {
    "<": lambda a, b: Truths(np.less(a, b), np.greater_equal(a, b)),
    "<=": lambda a, b: Truths(np.less_equal(a, b), np.greater(a, b)),
    ">": lambda a, b: Truths(np.greater(a, b), np.less_equal(a, b)),
    ">=": lambda a, b: Truths(np.greater_equal(a, b), np.less(a, b)),
    "==": lambda a, b: Truths(np.equal(a, b), np.less(a, b) | np.greater(a, b)),
    "!=": lambda a, b: Truths(np.less(a, b) | np.greater(a, b), np.equal(a, b)),
}


def both(a: Truths, b: Truths) -> Truths:
    """Kleene's: false as soon as one is."""
    return Truths(a.true & b.true, a.false | b.false)


def either(a: Truths, b: Truths) -> Truths:
    return Truths(a.true | b.true, a.false & b.false)


def inverted(a: Truths) -> Truths:
    return Truths(a.false, a.true)


def newest(series: Numbers | Truths, count: int) -> Numbers | Truths:
    if isinstance(series, np.ndarray):
        return series[..., -count:]
    return Truths(series.true[..., -count:], series.false[..., -count:]) if isinstance(series, Truths) else series


def tail(series: Numbers | Truths, count: int) -> Numbers | Truths:
    """A copy of the newest values of one symbol's series, so that the others need not be kept for them."""
    if isinstance(series, np.ndarray):
        return series[-count:].copy()
    return Truths(series.true[-count:].copy(), series.false[-count:].copy()) if isinstance(series, Truths) else series


def output_of(outputs: Outputs, name: str, count: int | None = None) -> Floats | Truths:
    """One output, or a copy of its newest values alone. Infinities are still in it."""
    column: Any = outputs.columns[name]
    kind = column.dtype.kind
    numbers: Floats
    if kind == "f":
        numbers = column if count is None else column[-count:].copy()
        return numbers
    rows = slice(None if count is None else -count, None)
    if kind == "b":
        return Truths.of(column[rows].copy(), outputs.unknown[name][rows])
    numbers = column[rows].astype(np.float64)
    numbers[: max(0, outputs.begin - len(column) + len(numbers))] = np.nan
    return numbers


def stacked(rows: Sequence[Any]) -> Any:
    """The same of many symbols, as long: a row each."""
    first = rows[0]
    if isinstance(first, Truths):
        return Truths(stacked([row.true for row in rows]), stacked([row.false for row in rows]))
    return np.concatenate(rows).reshape(len(rows), -1) if isinstance(first, np.ndarray) else first


def lagged(series: Numbers | Truths, bars: int) -> Numbers | Truths:
    """Nothing, or unknown, in the first `bars`."""
    if isinstance(series, Truths):
        return Truths(_shifted(series.true, bars, fill=False), _shifted(series.false, bars, fill=False))
    return _shifted(series, bars, fill=np.nan) if isinstance(series, np.ndarray) else series


def _shifted(array: npt.NDArray, bars: int, *, fill: float) -> npt.NDArray:  # type: ignore[type-arg]  # of either type
    shifted = np.full_like(array, fill)
    shifted[..., bars:] = array[..., : max(0, array.shape[-1] - bars)]
    return shifted


def extreme(numbers: Floats, bars: int, greater: np.ufunc) -> Floats:
    """The greatest of the last `bars`, as `greater` (np.maximum, or np.minimum) has it of two; nothing where one of them is
    missing. Of the last two, then of twice as many, and so on."""
    count, seen = numbers.shape[-1], 1
    while seen < bars:
        more = min(seen, bars - seen)
        further = np.empty_like(numbers)
        further[..., :more] = np.nan
        greater(numbers[..., more:], numbers[..., : max(0, count - more)], out=further[..., more:])
        numbers, seen = further, seen + more
    return numbers


def crossing(a: Numbers, b: Numbers, now: str, before: str) -> Truths:
    """`a` compares with `b` so now, and otherwise at the bar before."""
    then = COMPARISONS[before](lagged(a, 1), lagged(b, 1))  # type: ignore[arg-type]  # numbers stay numbers
    return both(COMPARISONS[now](a, b), then)


def moving(numbers: Floats, bars: int, direction: str) -> Truths:
    """Whether each of the last `bars` changes was in the direction; false as soon as one was not."""
    step = COMPARISONS[direction](numbers, lagged(numbers, 1))  # type: ignore[arg-type]
    return Truths(_count(step.true, bars) == bars, _count(step.false, bars) > 0)


def _count(bits: npt.NDArray[np.bool_], bars: int) -> npt.NDArray[np.intp]:
    """How many of the last `bars` are set."""
    total = np.cumsum(bits, axis=-1, dtype=np.intp)
    total[..., bars:] -= total[..., :-bars].copy()
    return total


def since(condition: Truths) -> Floats:
    """Bars since it was true, 0 where it is. Nothing before it was, nor from where it is unknown until it is true again."""
    at = np.arange(len(condition))
    last = np.maximum.accumulate(np.where(condition.true, at, -1))
    unknown = np.maximum.accumulate(np.where(condition.true | condition.false, -1, at))
    return np.where((last >= 0) & (last > unknown), at - last, np.nan)


def streak(condition: Truths) -> Floats:
    """For how many bars in a row it has been true; counted anew after a bar where it is unknown, which has no count."""
    at = np.arange(len(condition))
    other = np.maximum.accumulate(np.where(condition.true, -1, at))
    return np.where(condition.true | condition.false, (at - other).astype(np.float64), np.nan)


def where(condition: Truths, then: Numbers, otherwise: Numbers) -> Floats:
    return np.where(condition.true, then, np.where(condition.false, otherwise, np.nan))
