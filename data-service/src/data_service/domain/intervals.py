"""Coarser bars from finer ones, by the sessions of the exchange.

A bar of less than a day bears its beginning, counted from the opening of its session; a day bears its date; a week and a month
bear the date of the last trading day in them.
"""

from calendar import monthrange
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import Bars, Dates
from data_service.domain.calendars import Calendar

__all__ = [
    "INTERVALS",
    "SECONDS",
    "Interval",
    "StoredInterval",
    "newest_days_are_partial",
    "newest_is_partial",
    "resample",
    "served_from",
]

Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
StoredInterval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)
SECONDS: dict[str, int] = {"1min": 60, "5min": 300, "15min": 900, "30min": 1_800, "1h": 3_600, "4h": 14_400}
"""Of the intervals of less than a day. Each divides the next, so any of them can be made from any finer one."""

_MONDAY_BASED = 3  # 1970-01-01 was a Thursday
_SATURDAY = 5

_PERIODS: dict[str, Callable[[Dates], npt.NDArray[np.int64]]] = {
    "1week": lambda days: (days.astype(np.int64) + _MONDAY_BASED) // 7,
    "1month": lambda days: days.astype("datetime64[M]").astype(np.int64),
}
_LAST_DAYS: dict[str, Callable[[date], date]] = {
    "1week": lambda day: day + timedelta(days=6 - day.weekday()),
    "1month": lambda day: day.replace(day=monthrange(day.year, day.month)[1]),
}


def served_from(stored: str) -> tuple[Interval, ...]:
    """The intervals that bars of this one can answer."""
    return INTERVALS[INTERVALS.index(stored) :]


def resample(bars: Bars, interval: Interval, calendar: Calendar) -> Bars:
    """First open, highest high, lowest low, last close, total volume, of each bar of the interval; it must not be finer than the
    bars are. The bars may be of several months, one after the other."""
    if interval == bars.interval:
        return bars
    if not len(bars):
        return bars if interval in SECONDS or bars.interval == "1day" else Bars.empty(bars.symbol)
    if interval in SECONDS:
        begins = _begins(bars.date, SECONDS[interval], calendar)
        starts = _starts(begins)
        return _grouped(bars, starts, begins[starts])
    daily = bars if bars.interval == "1day" else _daily(bars, calendar)
    if interval == "1day":
        return daily
    starts = _starts(_PERIODS[interval](daily.date))
    return _grouped(daily, starts, daily.date[_ends(starts, len(daily))])


def _begins(moments: Any, seconds: int, calendar: Calendar) -> Any:
    """When the bar of so many seconds begins that each moment lies in."""
    opens = calendar.opens_of(calendar.days_of(moments))
    since = (moments - opens).astype(np.int64)
    return opens + (since - since % seconds).astype("timedelta64[s]")


def _daily(bars: Bars, calendar: Calendar) -> Bars:
    days = calendar.days_of(bars.date)
    starts = _starts(days)
    return replace(_grouped(bars, starts, days[starts]), key=bars.symbol)


def _starts(labels: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Where each run of equal labels begins."""
    return np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))


def _ends(starts: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    return np.append(starts[1:], length) - 1


def _grouped(bars: Bars, starts: npt.NDArray[np.intp], labels: Any) -> Bars:
    ends = _ends(starts, len(bars))
    return replace(
        bars,
        date=labels,
        open=bars.open[starts],
        high=np.maximum.reduceat(bars.high, starts),
        low=np.minimum.reduceat(bars.low, starts),
        close=bars.close[ends],
        volume=np.add.reduceat(bars.volume, starts),
        adj_close=bars.adj_close[ends],
    )


def newest_is_partial(bars: Bars, interval: Interval, calendar: Calendar) -> bool:
    """Whether the newest bar made of these of less than a day may still change: none of a later one exists, and the last of its
    own is not there. A bar in which nothing is traded to the end so stays partial until the next one has begun."""
    if interval == bars.interval or not len(bars):
        return False
    newest = bars.date[-1:]
    day = calendar.days_of(newest)
    reached = newest[0] + np.timedelta64(SECONDS[bars.interval], "s")
    if interval in SECONDS:
        ends = _begins(newest, SECONDS[interval], calendar)[0] + np.timedelta64(SECONDS[interval], "s")
        # after the close, where bars of other hours are stored, only the clock ends one
        stops = calendar.open_until(newest)[0]
        return bool(reached < (min(ends, stops) if newest[0] < stops else ends))
    return bool(reached < calendar.closes_of(day)[0]) or newest_days_are_partial(day, interval, calendar)


def newest_days_are_partial(days: Dates, interval: Interval, calendar: Calendar | None) -> bool:
    """Likewise of a week or a month made of these days.

    Without a calendar it ends with its last weekday; with its last day, for a symbol that traded on a weekend in its last seven
    bars."""
    if interval not in _LAST_DAYS or not len(days):
        return False
    newest: date = days[-1].item()
    last = _LAST_DAYS[interval](newest)
    if calendar is not None and (session := calendar.last_session(newest, last)) is not None:
        return newest < session
    if all(day.weekday() < _SATURDAY for day in days[-7:].tolist()):
        while last.weekday() >= _SATURDAY:
            last -= timedelta(days=1)
    return newest < last
