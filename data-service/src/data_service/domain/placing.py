"""Where bars stand on their exchange's calendar: outside its sessions, off the grid of their interval, with sessions missing."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import Dates
from data_service.domain.calendars import Calendar
from data_service.domain.intervals import SECONDS, StoredInterval
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.symbols import SymbolBars

__all__ = ["StoredBars", "gaps", "strays"]

_Flags = npt.NDArray[np.bool_]


def strays(calendar: Calendar, dates: npt.NDArray[np.datetime64], interval: StoredInterval) -> Mapping[str, _Flags]:
    """By reason, which dates are where no bar can be. What the calendar does not cover it says nothing of."""
    if interval == "1day":
        days = dates.astype("datetime64[D]")
        return {f"no session of {calendar.name}": calendar.covers(days) & ~calendar.is_session(days)}
    moments = dates.astype("datetime64[s]")
    days = calendar.days_of(moments)
    off = (dates.astype("datetime64[us]") - calendar.opens_of(days)) % np.timedelta64(SECONDS[interval], "s") != np.timedelta64(0)
    covered = calendar.covers(days)
    return {
        f"outside the sessions of {calendar.name}": covered & ~calendar.is_open(moments),
        f"not where a bar of {interval} begins": covered & off,
    }


def gaps(calendar: Calendar, days: Dates, known: Dates) -> Mapping[str, _Flags]:
    """By reason, where sessions are missing beside `days`, ascending, which come to stand among the `known`: at the first date
    after the gap, or at the last before it where what follows is known already."""
    new = np.unique(days)
    whole = np.union1d(new, known)
    ends, counts = calendar.missing_between(whole)
    after = np.isin(whole[ends], new)
    before = ~after & np.isin(whole[ends - 1], new)
    places = np.where(after, np.searchsorted(days, whole[ends], "left"), np.searchsorted(days, whole[ends - 1], "right") - 1)
    found: dict[str, _Flags] = {}
    for side, told in (("before", after), ("after", before)):
        for count in np.unique(counts[told]).tolist():
            flags = np.zeros(len(days), np.bool_)
            flags[places[told & (counts == count)]] = True
            found[f"{count} session{'s' if count > 1 else ''} of {calendar.name} missing {side} it"] = flags
    return found


class StoredBars:
    """What is stored already of the symbols that are brought; `exchange`, where it is given, is where all of them are listed."""

    def __init__(
        self, stored: IndexedSnapshot, calendar_of: Callable[[str | None], Calendar | None], exchange: str | None = None
    ) -> None:
        self._stored = stored
        self._listed = calendar_of(exchange)

    def calendar(self, symbol: str) -> Calendar | None:
        if self._listed is not None:
            return self._listed
        found = self._find(symbol)
        return found.calendar if found else None

    def days(self, symbol: str, interval: StoredInterval) -> Dates:
        found = self._find(symbol)
        return found.days(interval) if found else np.empty(0, "datetime64[D]")

    def _find(self, symbol: str) -> SymbolBars | None:
        try:
            return self._stored.of(symbol)
        except KeyError:
            return None
