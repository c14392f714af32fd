"""Candle patterns found in bars: where, which one, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from indicator_service.domain.catalogue import CATALOGUE, find
from indicator_service.domain.engine import compute
from indicator_service.domain.indicator import Indicator
from indicator_service.domain.series import Bars, iso_text
from shared.errors import InvalidInput, KalpiError

__all__ = ["PATTERNS", "Completed", "Direction", "Found", "direction_of", "found_in", "named", "on_newest", "row_of"]

Direction = Literal["bullish", "bearish", "neutral"]
PATTERNS: tuple[Indicator, ...] = tuple(entry for entry in CATALOGUE.values() if entry.type == "pattern")
_MOST = 64
"""More than there are patterns: a bar's place times this, and the pattern's, is one number for both."""


def named(sent: str | None) -> tuple[Indicator, ...]:
    """Patterns by name or alias, separated by commas; all of them for None. InvalidInput."""
    if sent is None:
        return PATTERNS
    wanted = set()
    for name in sent.split(","):
        try:
            pattern = find(name.strip())
        except KalpiError as error:
            raise InvalidInput.field("query", "patterns", msg=error.detail) from None
        if pattern.type != "pattern":
            raise InvalidInput.field("query", "patterns", msg=f"{pattern.name} is no candle pattern")
        wanted.add(pattern.name)
    return tuple(pattern for pattern in PATTERNS if pattern.name in wanted)


def direction_of(pattern: Indicator, value: int) -> Direction:
    if pattern.neutral:
        return "neutral"
    return "bullish" if value > 0 else "bearish"


@dataclass(frozen=True, slots=True)
class Found:
    """Occurrences in the order of their bars, then of the patterns: `at` the bar's place, `which` the pattern's in `patterns`."""

    patterns: Sequence[Indicator]
    at: npt.NDArray[np.int64]
    which: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]

    def keys(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
        """One ascending number for each, made of its bar's (`numbers`: of the dates), for `shared.paging`."""
        return (numbers[self.at] * _MOST + self.which).view("datetime64[s]")

    def rows(self, part: slice, dates: Sequence[str]) -> list[dict[str, Any]]:
        """As answers show them; `dates` of the bars of each."""
        return [
            {"date": date, **_described(self.patterns[which], value)}
            for date, which, value in zip(dates, self.which[part].tolist(), self.value[part].tolist(), strict=True)
        ]


def _described(pattern: Indicator, value: int) -> dict[str, Any]:
    return {
        "pattern": pattern.name,
        "title": pattern.title,
        "direction": direction_of(pattern, value),
        "strength": abs(value),
        "value": value,
    }


def found_in(
    bars: Bars, patterns: Sequence[Indicator], direction: Direction | None, *, first: int = 0, end: int | None = None
) -> Found:
    """Those on the bars `first` to `end` (exclusive); always computed on all of them."""
    places, kinds, values = [], [], []
    for which, pattern in enumerate(patterns):
        column = compute(pattern, bars, (), pattern.defaults).columns["value"][first:end]
        at = np.flatnonzero(column)
        if direction is not None:
            at = at[[direction_of(pattern, value) == direction for value in column[at].tolist()]] if len(at) else at
        places.append(at + first)
        kinds.append(np.full(len(at), which))
        values.append(column[at].astype(np.int64))
    at, kind, value = (np.concatenate(part) if part else np.empty(0, np.int64) for part in (places, kinds, values))
    order = np.lexsort((kind, at))
    return Found(patterns, at[order], kind[order], value[order])


Completed = tuple[str, str, str, int]
"""A symbol, the date of its bar, a pattern's name and its value."""


def on_newest(many: Sequence[Bars], patterns: Sequence[Indicator], direction: Direction | None) -> list[Completed]:
    """What the newest bar of each completes. There is a bar in each."""
    computations = [pattern.work.bound(pattern.defaults) for pattern in patterns]
    completed: list[Completed] = []
    for bars in many:
        values = [int(computed(bars, ()).columns["value"].item(-1)) for computed in computations]
        if any(values):
            day = iso_text(bars.date[-1:], bars.zone)[0]
            completed += [
                (bars.symbol, day, pattern.name, value)
                for pattern, value in zip(patterns, values, strict=True)
                if value and direction in (None, direction_of(pattern, value))
            ]
    return completed


def row_of(completed: Completed) -> dict[str, Any]:
    """As answers show it."""
    symbol, day, name, value = completed
    return {"symbol": symbol, "date": day, **_described(CATALOGUE[name], value)}
