"""The functions of the language that are no indicators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np

from indicator_service.domain.expressions.arrays import crossing, extreme, finite, moving, since, streak, where
from indicator_service.domain.expressions.tree import Kind
from indicator_service.domain.outputs import Truths
from indicator_service.domain.series import Bars, Floats
from shared.local_time import first_moment

__all__ = ["BUILT_INS", "MOST_BARS", "Constant", "Signature"]

MOST_BARS = 100_000
"""The longest window and lag; TA-Lib's longest period."""


@dataclass(frozen=True, slots=True)
class Constant:
    name: str
    type: Literal["int", "date"]
    minimum: int = 0
    maximum: int = 0
    default: int | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """`apply` takes the series, then the constants; before them the bars, if `dated`. One that `folds` is defined on constants
    alone. `reach` says how many bars before its own a value rests on, given the constants; None: on all of them.
    """

    series: tuple[Kind, ...]
    result: Kind
    apply: Callable[..., Any]
    meaning: str
    constants: tuple[Constant, ...] = ()
    reach: Callable[..., int | None] = lambda *_: 0
    dated: bool = False
    folds: bool = False


def _everything(*_: Any) -> None:
    """A reach: all the bars before."""


def _missing(series: Floats) -> Truths:
    missing = np.isnan(series)
    return Truths(missing, ~missing)


def _from_date(bars: Bars, series: Floats, day: str) -> Floats:
    dates = bars.date
    if bars.zone is None:
        return np.where(dates >= np.datetime64(day), series, np.nan)
    return np.where(dates >= np.datetime64(first_moment(date.fromisoformat(day), bars.zone), "s"), series, np.nan)


_TWO: tuple[Kind, ...] = ("numbers", "numbers")
_BARS = Constant("bars", "int", 1, MOST_BARS)


_NUMBERS: tuple[Kind, ...] = ("numbers",)
_TRUTHS: tuple[Kind, ...] = ("booleans",)

BUILT_INS: Mapping[str, Signature] = {
    "crosses_above": Signature(
        _TWO, "booleans", lambda a, b: crossing(a, b, ">", "<="), "a is above b and was not, a bar ago", reach=lambda: 1
    ),
    "crosses_below": Signature(
        _TWO, "booleans", lambda a, b: crossing(a, b, "<", ">="), "a is below b and was not, a bar ago", reach=lambda: 1
    ),
    "highest": Signature(
        _NUMBERS, "numbers", lambda x, n: extreme(x, n, np.maximum), "the highest of the last bars", (_BARS,), lambda n: n - 1
    ),
    "lowest": Signature(
        _NUMBERS, "numbers", lambda x, n: extreme(x, n, np.minimum), "the lowest of the last bars", (_BARS,), lambda n: n - 1
    ),
    "rising": Signature(
        _NUMBERS, "booleans", lambda x, n: moving(x, n, ">"), "above the bar before, so many bars in a row", (_BARS,), lambda n: n
    ),
    "falling": Signature(
        _NUMBERS, "booleans", lambda x, n: moving(x, n, "<"), "below the bar before, so many bars in a row", (_BARS,), lambda n: n
    ),
    "since": Signature(_TRUTHS, "numbers", since, "bars since it was last true", reach=_everything),
    "streak": Signature(_TRUTHS, "numbers", streak, "bars in a row for which it has been true", reach=_everything),
    "where": Signature(("booleans", *_TWO), "numbers", where, "the first number where it is true, the second where it is false"),
    "coalesce": Signature(_TWO, "numbers", lambda a, b: np.where(np.isnan(a), b, a), "the second where the first is missing"),
    "missing": Signature(_NUMBERS, "booleans", _missing, "whether there is no number"),
    "from_date": Signature(_NUMBERS, "numbers", _from_date, "nothing before the date", (Constant("date", "date"),), dated=True),
    "abs": Signature(_NUMBERS, "numbers", np.abs, "without its sign", folds=True),
    "sign": Signature(_NUMBERS, "numbers", np.sign, "-1, 0 or 1", folds=True),
    "round": Signature(
        _NUMBERS,
        "numbers",
        lambda x, digits: finite(np.round(x, digits)),
        "to so many digits, halves to the even one",
        (Constant("digits", "int", -9, 9, 0),),
        folds=True,
    ),
    "maximum": Signature(_TWO, "numbers", np.maximum, "the greater of two", folds=True),
    "minimum": Signature(_TWO, "numbers", np.minimum, "the lesser of two", folds=True),
}
