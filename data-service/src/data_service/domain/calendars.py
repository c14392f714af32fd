"""When an exchange is open: its sessions, and what they say about moments and days.

Days are datetime64[D] and name a session as the exchange does; moments are datetime64[s] in UTC. Everything works on arrays.
A session begins at its open and ends just before its close. It may open on the evening before the day it is named after; no two
overlap.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.domain.bars import Dates

__all__ = ["ALWAYS_OPEN", "Calendar", "Moments", "SessionCalendar", "utc_of"]

Moments = npt.NDArray[np.datetime64]
Booleans = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
_DAY = np.timedelta64(1, "D")


def utc_of(local: Moments, time_zone: str) -> Moments:
    """The moments (datetime64[s]) of local times (datetime64); NaT stays NaT.

    Where clocks are put back a time comes twice: the first is meant. Where they are put forward a time never comes: it is read by
    the clock of the day before, so a midnight that never comes is the first moment of its day.
    """
    found = _utc_where_it_exists(local, time_zone)
    skipped = np.isnat(found) & ~np.isnat(local)
    if skipped.any():
        found[skipped] = _utc_where_it_exists(local[skipped] - _DAY, time_zone) + _DAY
    return found


def _utc_where_it_exists(local: Moments, time_zone: str) -> Moments:
    clock = pl.Series(local.astype("datetime64[ms]")).dt
    zoned = clock.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null").dt
    return zoned.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy().astype("datetime64[s]")


@dataclass(frozen=True, eq=False)
class Calendar:
    """Every day of the time zone is a session, from midnight to midnight."""

    name: str
    time_zone: str

    def days_of(self, moments: Moments) -> Dates:
        """The day of the session that contains each moment; where none does, the local date."""
        clock = pl.Series(moments.astype("datetime64[ms]")).dt.replace_time_zone("UTC").dt
        return clock.convert_time_zone(self.time_zone).dt.date().to_numpy().astype("datetime64[D]")

    def opens_of(self, days: Dates) -> Moments:
        """When each day's session opens; for a day that is none, local midnight."""
        return utc_of(days, self.time_zone)

    def closes_of(self, days: Dates) -> Moments:
        """When each day's session closes; for a day that is none, the next local midnight."""
        return utc_of(days + _DAY, self.time_zone)

    def open_until(self, moments: Moments) -> Moments:
        """When trading stops next: the break of the moment's session begins, or it closes."""
        return self.closes_of(self.days_of(moments))

    def is_open(self, moments: Moments) -> Booleans:
        """Whether each moment lies in a session and not in its break."""
        return np.ones(moments.shape, np.bool_)

    def is_session(self, days: Dates) -> Booleans:
        return np.ones(days.shape, np.bool_)

    def sessions(self, first: date, last: date) -> Dates:
        """From `first` to `last`, both included."""
        return np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + _DAY)

    def covers(self, days: Dates) -> Booleans:
        """Whether this calendar knows about each day: of others it has no opinion, and answers as if they were no sessions."""
        return np.ones(days.shape, np.bool_)

    def sessions_before(self, days: Dates) -> Counts:
        """How many sessions lie before each day, counted from a day of the calendar's choice: for differences."""
        return days.astype(np.int64)

    def missing_between(self, days: Dates) -> tuple[Counts, Counts]:
        """Of `days`, which ascend: the positions before which covered sessions are missing, and how many there."""
        missing = self.sessions_before(days[1:]) - self.sessions_before(days[:-1] + _DAY)
        positions = np.flatnonzero(missing > 0)
        return positions + 1, missing[positions]

    def last_session(self, first: date, last: date) -> date | None:
        """The last session from `first` to `last`, both included; None when there is none, or when `last` is not covered."""
        return last if first <= last else None


ALWAYS_OPEN = Calendar("24/7", "UTC")


@dataclass(frozen=True, eq=False)
class SessionCalendar(Calendar):
    """The sessions of an exchange from `first` to `last`, at least one, ascending; the arrays are of one length.

    Breaks begin and end within their session; both are NaT where there is none.
    """

    first: np.datetime64
    last: np.datetime64
    days: Dates
    opens: Moments
    closes: Moments
    break_starts: Moments
    break_ends: Moments

    def days_of(self, moments: Moments) -> Dates:
        at, inside = self._session_at(moments)
        days = self.days[at]
        days[~inside] = super().days_of(moments[~inside])
        return days

    def opens_of(self, days: Dates) -> Moments:
        at, known = self._session_on(days)
        opens = self.opens[at]
        opens[~known] = super().opens_of(days[~known])
        return opens

    def closes_of(self, days: Dates) -> Moments:
        at, known = self._session_on(days)
        closes = self.closes[at]
        closes[~known] = super().closes_of(days[~known])
        return closes

    def open_until(self, moments: Moments) -> Moments:
        at, inside = self._session_at(moments)
        before = inside & (moments < self.break_starts[at])  # never, of NaT
        return np.where(before, self.break_starts[at], super().open_until(moments))

    def is_open(self, moments: Moments) -> Booleans:
        at, inside = self._session_at(moments)
        in_break = (moments >= self.break_starts[at]) & (moments < self.break_ends[at])
        return inside & ~in_break

    def is_session(self, days: Dates) -> Booleans:
        return self._session_on(days)[1]

    def sessions(self, first: date, last: date) -> Dates:
        begin = np.searchsorted(self.days, np.datetime64(first, "D"))
        return self.days[begin : np.searchsorted(self.days, np.datetime64(last, "D"), side="right")]

    def covers(self, days: Dates) -> Booleans:
        return (days >= self.first) & (days <= self.last)

    def sessions_before(self, days: Dates) -> Counts:
        return np.searchsorted(self.days, days)

    def last_session(self, first: date, last: date) -> date | None:
        if not self.first <= np.datetime64(last, "D") <= self.last:
            return None
        at = int(np.searchsorted(self.days, np.datetime64(last, "D"), side="right")) - 1
        found: date = self.days[at].item()
        return found if at >= 0 and found >= first else None

    def _session_at(self, moments: Moments) -> tuple[Counts, Booleans]:
        """A position for each moment, and whether the session there contains it."""
        at = np.maximum(np.searchsorted(self.opens, moments, side="right") - 1, 0)
        return at, (moments >= self.opens[at]) & (moments < self.closes[at])

    def _session_on(self, days: Dates) -> tuple[Counts, Booleans]:
        """A position for each day, and whether the session there is of that day."""
        at = np.minimum(np.searchsorted(self.days, days), len(self.days) - 1)
        return at, self.days[at] == days
