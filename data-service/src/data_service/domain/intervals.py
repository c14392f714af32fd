"""Coarser bars from daily ones. A bar is labelled with the last trading day in it."""

from calendar import monthrange
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import Bars, Dates
from shared.errors import InvalidInput

__all__ = ["SERVED", "Interval", "newest_is_partial", "resample"]

Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
_MONDAY_BASED = 3  # 1970-01-01 was a Thursday
_SATURDAY = 5

_PERIODS: dict[str, Callable[[Dates], npt.NDArray[np.int64]]] = {
    "1week": lambda dates: (dates.astype(np.int64) + _MONDAY_BASED) // 7,
    "1month": lambda dates: dates.astype("datetime64[M]").astype(np.int64),
}
_LAST_DAYS: dict[str, Callable[[date], date]] = {
    "1week": lambda day: day + timedelta(days=6 - day.weekday()),
    "1month": lambda day: day.replace(day=monthrange(day.year, day.month)[1]),
}
SERVED: tuple[Interval, ...] = ("1day", "1week", "1month")


def resample(bars: Bars, interval: Interval) -> Bars:
    """First open, highest high, lowest low, last close, total volume; InvalidInput for what is finer than what is stored."""
    if interval == "1day":
        return bars
    if interval not in _PERIODS:
        raise InvalidInput.field("query", "interval", msg=f"{bars.symbol} is stored as daily bars; served: {', '.join(SERVED)}")
    if not len(bars):
        return bars
    periods = _PERIODS[interval](bars.date)
    starts = np.flatnonzero(np.diff(periods, prepend=periods[0] - 1))
    ends = np.append(starts[1:], len(bars)) - 1
    return replace(
        bars,
        date=bars.date[ends],
        open=bars.open[starts],
        high=np.maximum.reduceat(bars.high, starts),
        low=np.minimum.reduceat(bars.low, starts),
        close=bars.close[ends],
        volume=np.add.reduceat(bars.volume, starts),
        adj_close=bars.adj_close[ends],
    )


def newest_is_partial(days: Dates, interval: Interval) -> bool:
    """Whether the newest week or month made of these days may still change: no bar of a later one exists, and its last weekday is
    not reached. A symbol that traded on a weekend in its last seven bars trades on every day, so there it is the very last day.

    This knows no holidays: a week that ends with one stays partial until the next has begun.
    """
    if interval not in _LAST_DAYS or not len(days):
        return False
    newest: date = days[-1].item()
    last = _LAST_DAYS[interval](newest)
    if all(day.weekday() < _SATURDAY for day in days[-7:].tolist()):
        while last.weekday() >= _SATURDAY:
            last -= timedelta(days=1)
    return newest < last
