"""All that is stored of one symbol, at one moment."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np

from data_service.domain.adjustment import Adjustment, adjust
from data_service.domain.bars import NUMBERS, UNLISTED, VALUES, Bars, Dates, Listing
from data_service.domain.calendars import ALWAYS_OPEN, Calendar
from data_service.domain.errors import NotServed
from data_service.domain.intervals import (
    INTERVALS,
    SECONDS,
    Interval,
    newest_days_are_partial,
    newest_is_partial,
    resample,
    served_from,
)
from shared.local_time import day_of

__all__ = ["Days", "SymbolBars", "View", "version_of"]

Days = tuple[date | None, date | None]
"""The first and the last of some days; None: open."""
_A_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, eq=False)
class View:
    """Bars as they were asked for. `zone` is None for days and longer, else the exchange's time zone; `partial` says that the
    newest one may still change."""

    bars: Bars
    zone: str | None
    partial: bool

    @property
    def nbytes(self) -> int:
        return sum(getattr(self.bars, name).nbytes for name in ("date", *NUMBERS))


@dataclass(frozen=True, eq=False)
class SymbolBars:
    """`head` are the daily bars, which may be none; `months` those of less than a day, of each interval in their order."""

    head: Bars
    months: Mapping[str, Sequence[Bars]]
    calendar: Calendar | None
    """That of the exchange it is listed at; None where that is not known."""

    @classmethod
    def of(cls, parts: Iterable[Bars], calendar_of: Callable[[str | None], Calendar | None]) -> "SymbolBars":
        """All bars of one symbol, at least one, in any order."""
        by_key = {bars.key: bars for bars in parts}
        symbol = next(iter(by_key)).partition(":")[0]
        head = by_key.pop(symbol, Bars.empty(symbol))
        months: dict[str, list[Bars]] = {}
        for key in sorted(by_key):
            months.setdefault(by_key[key].interval, []).append(by_key[key])
        return cls(head, months, calendar_of(head.listing.exchange))

    @property
    def symbol(self) -> str:
        return self.head.symbol

    @property
    def parts(self) -> Iterator[Bars]:
        """All that is stored, in the order of the keys' intervals and months."""
        if len(self.head) or self.head.splits or self.head.listing != UNLISTED:
            yield self.head
        for months in self.months.values():
            yield from months

    @property
    def listing(self) -> Listing:
        return self.head.listing

    @cached_property
    def data_version(self) -> str:
        """It changes exactly when any of the bars, the splits or the listing do."""
        return version_of((bars.key, bars.data_version) for bars in self.parts)

    @cached_property
    def stored(self) -> tuple[Interval, ...]:
        """The intervals there are bars of, the finest first."""
        held = {*self.months, *(["1day"] if len(self.head) else [])}
        return tuple(name for name in INTERVALS if name in held)

    @property
    def served(self) -> tuple[Interval, ...]:
        return served_from(self.stored[0])

    @property
    def rows(self) -> int:
        """Of the finest interval."""
        return len(self.head) if self.stored[0] == "1day" else sum(map(len, self.months[self.stored[0]]))

    @cached_property
    def first_day(self) -> date:
        return min(self.span(interval)[0] for interval in self.stored)

    @cached_property
    def last_day(self) -> date:
        return max(self.span(interval)[1] for interval in self.stored)

    def span(self, interval: Interval) -> tuple[date, date]:
        """The days, as the calendar on the wall has them, of the first and the last of the bars that answer an interval;
        `NotServed`."""
        base = self._base(interval)
        if base == "1day":
            return self.head.date[0].item(), self.head.date[-1].item()
        months = self.months[base]
        clock = self.calendar or ALWAYS_OPEN
        return day_of(months[0].date[0], clock.time_zone), day_of(months[-1].date[-1], clock.time_zone)

    def _base(self, interval: Interval) -> Interval:
        """Of the intervals stored, the coarsest that is not coarser."""
        finer = [name for name in self.stored if interval in served_from(name)]
        if not finer:
            raise NotServed(self.symbol, interval, self.served)
        return finer[-1]

    def days(self, interval: str) -> Dates:
        """Of which there are bars of this interval; for one of less than a day, each as often as there are."""
        if interval == "1day":
            return self.head.date
        clock = self.calendar or ALWAYS_OPEN
        days = [clock.days_of(bars.date) for bars in self.months.get(interval, ())]
        return np.concatenate(days) if days else self.head.date[:0]

    def view(
        self,
        interval: Interval,
        adjustment: Adjustment,
        as_of: date | None = None,
        columns: Collection[str] = VALUES,
        between: Days = (None, None),
    ) -> View:
        """Made of the coarsest stored bars that are not coarser; `NotServed` when all are. `as_of`: as if there were no bar after
        that day yet, so also adjusted to the newest of those there are. Columns that are not asked for may be any. Of less than a
        day, there need be no other months than those `between` two days, None: open."""
        base, clock = self._base(interval), self.calendar or ALWAYS_OPEN
        head = self.head if as_of is None else _until(self.head, self.head.date, as_of)
        if base == "1day":
            shown = resample(adjust(head, adjustment, head.date, head, columns=columns), interval, clock)
            return View(shown, None, newest_days_are_partial(head.date, interval, self.calendar))
        newest = self._newest_day(base, as_of)
        bars = _joined(_months_between(self.months[base], between if interval in SECONDS else (None, None)))
        days = clock.days_of(bars.date)
        if as_of is not None:
            bars, days = _until(bars, days, as_of), days[: np.searchsorted(days, np.datetime64(as_of, "D"), "right")]
        if adjustment != "none":
            bars = adjust(bars, adjustment, days, head, newest, columns)
        ends = len(days) > 0 and days[-1] == newest
        zone = clock.time_zone if interval in SECONDS else None
        return View(resample(bars, interval, clock), zone, ends and newest_is_partial(bars, interval, clock))

    def rows_for(self, interval: Interval) -> int:
        """How many bars a view of the interval is made of."""
        base = self._base(interval)
        return len(self.head) if base == "1day" else sum(map(len, self.months[base]))

    def _newest_day(self, base: Interval, as_of: date | None) -> np.datetime64 | None:
        """Of the bars of less than a day that there are, or were."""
        last = self.days(base)[-1:] if as_of is None else (days := self.days(base))[days <= np.datetime64(as_of, "D")][-1:]
        return last[0] if len(last) else None


def version_of(parts: Iterable[tuple[str, str]]) -> str:
    """Of keys with their versions: that of the daily bars, where there are no others."""
    versions = list(parts)
    if len(versions) == 1 and ":" not in versions[0][0]:
        return versions[0][1]
    digest = hashlib.blake2b(digest_size=16)
    for key, version in versions:
        digest.update(f"{key} {version} ".encode())
    return digest.hexdigest()


def _months_between(months: Sequence[Bars], between: Days) -> Sequence[Bars]:
    """Those with a bar from the day before to the day after, so that no session is cut; the last one where there is none."""
    first = np.datetime64(between[0] or date.min, "D") - _A_DAY
    last = np.datetime64(between[1] or date.max, "D") + _A_DAY
    found = [bars for bars in months if bars.date[-1] >= first and bars.date[0] < last + _A_DAY]
    return found or months[-1:]


def _until(bars: Bars, days: Dates, last: date) -> Bars:
    end = int(np.searchsorted(days, np.datetime64(last, "D"), "right"))
    columns: dict[str, Any] = {name: getattr(bars, name)[:end] for name in ("date", *NUMBERS)}
    return bars if end == len(bars) else replace(bars, **columns)


def _joined(parts: Sequence[Bars]) -> Bars:
    """Under the first one's key; contiguous."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("date", *NUMBERS)}
    return replace(parts[0], **columns)
