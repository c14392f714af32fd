"""One symbol's bars: contiguous columns, ascending dates, and a version that changes exactly when they do.

Daily bars of a symbol are one `Bars`; bars of less than a day are one for each interval and month, so that a new one rewrites
little. Each has a key: `AAPL`, `AAPL:1min:2026-11`.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NUMBERS", "PRICES", "UNLISTED", "VALUES", "Bar", "Bars", "Dates", "Floats", "Listing", "Split", "key_of"]

Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]
PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")
NUMBERS = (*VALUES, "adj_close")
_DAY = "1day"


@dataclass(frozen=True, slots=True)
class Bar:
    """As traded, arrived live. `date` is a day, datetime64[D], or of a shorter bar its beginning, datetime64[s] in UTC."""

    date: np.datetime64
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class Split:
    """`ratio` new shares for one old, from the opening of `date` on."""

    date: np.datetime64
    ratio: float


@dataclass(frozen=True, slots=True)
class Listing:
    """`exchange` is a name that `exchange-calendars` knows, most of them MICs (ISO 10383); `currency` an ISO 4217 code."""

    exchange: str | None = None
    currency: str | None = None


UNLISTED = Listing()


def key_of(symbol: str, interval: str, date: np.datetime64) -> str:
    """Of the bars among which a bar of this date belongs."""
    return symbol if interval == _DAY else f"{symbol}:{interval}:{date.astype('datetime64[M]')}"


@dataclass(frozen=True, eq=False)
class Bars:
    """`date` datetime64[D], or datetime64[s] in UTC for bars of less than a day, which it is the beginning of; the others
    float64; all of one length and C-contiguous; prices as traded. Splits and listing stand with the daily bars, of which there
    may be none; adj_close has a meaning there alone."""

    key: str
    date: Dates
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    adj_close: Floats
    splits: tuple[Split, ...] = ()
    listing: Listing = UNLISTED

    @classmethod
    def empty(cls, key: str) -> "Bars":
        nothing = np.empty(0)
        return cls(key, np.empty(0, cls.unit(key)), nothing, nothing, nothing, nothing, nothing, nothing)

    @staticmethod
    def unit(key: str) -> str:
        """Of the dates of the bars with this key."""
        return "datetime64[s]" if ":" in key else "datetime64[D]"

    @property
    def symbol(self) -> str:
        return self.key.partition(":")[0]

    @property
    def interval(self) -> str:
        return self.key.split(":")[1] if ":" in self.key else _DAY

    def __len__(self) -> int:
        return len(self.date)

    @cached_property
    def data_version(self) -> str:
        """128 bits of BLAKE2b over the key, every column, the splits and the listing."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=16)
        for field in fields(self):
            column = getattr(self, field.name)
            if isinstance(column, np.ndarray):
                digest.update(np.ascontiguousarray(column).view(np.uint8).data)
        for split in self.splits:
            digest.update(f"{split.date}{split.ratio!r}".encode())
        if self.listing != UNLISTED:
            digest.update(f"{self.listing.exchange} {self.listing.currency}".encode())
        return digest.hexdigest()

    def with_bar(self, bar: Bar) -> "Bars":
        """These bars with one appended, or in the place of the one of its date; the same object when nothing changes."""
        at = int(np.searchsorted(self.date, bar.date))
        replaces = at < len(self) and self.date[at] == bar.date
        # the very same close keeps its adj_close: the product may be another by its last bit
        kept = replaces and self.close[at] == bar.close
        adj_close = self.adj_close[at] if kept else bar.close * float(self.ratios_on(np.array([bar.date]))[0])
        values = {**{name: getattr(bar, name) for name in (*PRICES, "volume")}, "adj_close": adj_close}
        if replaces and all(getattr(self, name)[at] == value for name, value in values.items()):
            return self
        columns: dict[str, Any] = {
            name: _put(getattr(self, name), at, value, replaces=replaces) for name, value in values.items()
        }
        dates = self.date if replaces else np.insert(self.date, at, bar.date)
        return replace(self, date=dates, **columns)

    def ratios_on(self, dates: Dates) -> Floats:
        """adj_close/close where bars stand, or where such as do not say come to stand: what the bar before has, the first one's
        before it, as the splits between change it; 1 without any.

        A new newest bar so keeps the ratio of the one before it, and no adjusted value of the past moves.
        """
        if not len(self) or self.interval != _DAY:
            return np.ones(len(dates))
        near = np.maximum(np.searchsorted(self.date, dates, "right") - 1, 0)
        shares, before = np.ones(len(dates)), np.ones(len(dates))
        for split in self.splits:
            shares[dates >= split.date] *= split.ratio
            before[self.date[near] >= split.date] *= split.ratio
        ratios: Floats = self.adj_close[near] / self.close[near] * (shares / before)
        return ratios


def _put(column: Floats, at: int, value: float, *, replaces: bool) -> Floats:
    if not replaces:
        return np.insert(column, at, value)
    changed = column.copy()
    changed[at] = value
    return changed
