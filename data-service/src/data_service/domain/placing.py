"""Where bars stand on their exchange's calendar: outside its sessions, off the grid of their interval, with sessions missing."""

from collections.abc import Callable, Iterator, Mapping

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
    return {
        f"outside the sessions of {calendar.name}": calendar.covers(days) & ~calendar.is_open(moments),
        f"not where a bar of {interval} begins": off,
    }


def gaps(calendar: Calendar, days: Dates, known: Dates) -> Iterator[tuple[str, int]]:
    """Where sessions are missing beside `days`, ascending, which come to stand among the `known`: the reason, and the position of
    the first date after the gap, or of the last before it where what follows is known already."""
    new = np.unique(days)
    whole = np.union1d(new, known)
    ends, counts = calendar.missing_between(whole)
    for end, count in zip(ends.tolist(), counts.tolist(), strict=True):
        sessions = f"{count} session{'s' if count > 1 else ''} of {calendar.name} missing"
        if whole[end] in new:
            yield f"{sessions} before it", int(np.searchsorted(days, whole[end], "left"))
        elif whole[end - 1] in new:
            yield f"{sessions} after it", int(np.searchsorted(days, whole[end - 1], "right")) - 1


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
