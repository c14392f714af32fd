"""One symbol's bars as columns."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - the bars have a date of their own
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shared.local_time import day_of, zoned

__all__ = ["COLUMNS", "Bars", "Floats", "iso_text"]

Floats = npt.NDArray[np.float64]
_FEW, _PART = 10_000, 4
"""Bars whose dates are all written as text when some of them are asked for: so many, or so many times those."""

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False)
class Bars:
    """`date` datetime64[D], or for bars of less than a day datetime64[s] in UTC, with the time zone of the exchange; ascending.
    The others float64; all of one length and C-contiguous, as TA-Lib wants them, but for columns that nobody asked for, which are
    empty. `newest` is the day of the symbol's newest bar, also where these bars end earlier; None where they do not."""

    symbol: str
    data_version: str
    date: npt.NDArray[np.datetime64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    zone: str | None = field(default=None, kw_only=True)
    newest: Date | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.date)

    def has(self, columns: Collection[str]) -> bool:
        count = len(self.date)
        return all(len(getattr(self, name)) == count for name in columns)

    def owns(self, series: Floats) -> bool:
        """Whether it is one of these columns itself: what they hold was let in as finite numbers alone."""
        return series is self.close or series is self.high or series is self.low or series is self.open or series is self.volume

    @property
    def days(self) -> tuple[Date, Date]:
        """Of the symbol's first bar and its newest one; there is at least one, or `newest`."""
        newest = self.newest or day_of(self.date[-1], self.zone)
        return (day_of(self.date[0], self.zone) if len(self) else newest), newest

    @property
    def last_day(self) -> Date | None:
        """Of these bars."""
        return day_of(self.date[-1], self.zone) if len(self) else None

    @cached_property
    def iso_dates(self) -> list[str]:
        return self._texts(slice(None))

    def iso_date(self, at: int) -> str:
        """Of one bar, counted from the first."""
        return self.iso_dates[at] if self._keeps_text(1) else self._texts(slice(at, at + 1))[0]

    def date_cells(self, rows: slice) -> npt.NDArray[np.void]:
        """The ISO dates as text for answers, each as long as the others."""
        count = len(range(*rows.indices(len(self))))
        return self._cells[rows] if self._keeps_text(count) else _cells_of(self._texts(rows))

    def _keeps_text(self, count: int) -> bool:
        """Whether for the dates of so many rows those of all bars are written, once: not where that is much the more."""
        return len(self) <= max(_FEW, _PART * count) or "iso_dates" in self.__dict__

    def _texts(self, rows: slice) -> list[str]:
        return iso_text(self.date[rows], self.zone)

    @cached_property
    def _cells(self) -> npt.NDArray[np.void]:
        return _cells_of(self.iso_dates)

    @property
    def nbytes(self) -> int:
        """Of the columns, and of the dates that are kept as text beside them."""
        columns = (self.date, self.open, self.high, self.low, self.close, self.volume)
        return sum(column.nbytes for column in columns) + 90 * len(self)


def _cells_of(dates: Sequence[str]) -> npt.NDArray[np.void]:
    return np.frombuffer("".join(dates).encode("ascii"), f"V{len(dates[0]) if dates else 1}")


def iso_text(dates: npt.NDArray[np.datetime64], zone: str | None) -> list[str]:
    """As answers show them: days, or with a time zone moments."""
    if zone is None:
        return list(np.datetime_as_string(dates))
    return zoned(dates, zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list()
