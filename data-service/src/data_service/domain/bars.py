"""One symbol's bars: contiguous columns, ascending dates, and a version that changes exactly when they do."""

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PRICES", "Bar", "Bars", "Dates", "Floats", "Split"]

Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Bar:
    """One day as traded, arrived live."""

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


@dataclass(frozen=True, eq=False)
class Bars:
    """`date` datetime64[D], the others float64, all of one length and C-contiguous; prices as traded."""

    symbol: str
    date: Dates
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    adj_close: Floats
    splits: tuple[Split, ...] = ()

    @classmethod
    def empty(cls, symbol: str) -> "Bars":
        nothing = np.empty(0)
        return cls(symbol, np.empty(0, "datetime64[D]"), nothing, nothing, nothing, nothing, nothing, nothing)

    def __len__(self) -> int:
        return len(self.date)

    @cached_property
    def data_version(self) -> str:
        """128 bits of BLAKE2b over the symbol, every column and the splits."""
        digest = hashlib.blake2b(self.symbol.encode(), digest_size=16)
        for field in fields(self):
            column = getattr(self, field.name)
            if isinstance(column, np.ndarray):
                digest.update(np.ascontiguousarray(column).view(np.uint8).data)
        for split in self.splits:
            digest.update(f"{split.date}{split.ratio!r}".encode())
        return digest.hexdigest()

    def with_bar(self, bar: Bar) -> "Bars":
        """These bars with one appended, or in the place of the one of its date; the same object when nothing changes."""
        at = int(np.searchsorted(self.date, bar.date))
        replaces = at < len(self) and self.date[at] == bar.date
        adj_close = bar.close * self._ratio_near(at)
        values = {**{name: getattr(bar, name) for name in (*PRICES, "volume")}, "adj_close": adj_close}
        if replaces and all(getattr(self, name)[at] == value for name, value in values.items()):
            return self
        columns: dict[str, Any] = {
            name: _put(getattr(self, name), at, value, replaces=replaces) for name, value in values.items()
        }
        dates = self.date if replaces else np.insert(self.date, at, bar.date)
        return replace(self, date=dates, **columns)

    def _ratio_near(self, at: int) -> float:
        """adj_close/close where a bar is put: its own when it is corrected, else the nearest; 1 for the first bar.

        A new newest bar so keeps the ratio of the one before it, and no adjusted value of the past moves.
        """
        if not len(self):
            return 1.0
        near = min(at, len(self) - 1)
        return float(self.adj_close[near] / self.close[near])


def _put(column: Floats, at: int, value: float, *, replaces: bool) -> Floats:
    if not replaces:
        return np.insert(column, at, value)
    changed = column.copy()
    changed[at] = value
    return changed
