"""A range of bars in pages: which rows, and where the next page begins."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from data_service.domain.bars import Dates
from data_service.domain.errors import DataChanged
from shared.errors import InvalidInput

__all__ = ["Cursor", "Page", "page_of"]

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended, and on which version of the data."""

    last: str
    data_version: str

    def encode(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.last, self.data_version]).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """InvalidInput for what was not made here."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            last, version = json.loads(raw)
            return cls(date.fromisoformat(last).isoformat(), str(version))
        except (binascii.Error, ValueError, TypeError):
            raise InvalidInput.field("query", "cursor", msg="not a cursor of this API") from None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows `first` to `end` (exclusive) of the ascending columns, read in `order`."""

    first: int
    end: int
    order: Order
    next_cursor: str | None

    @property
    def rows(self) -> slice:
        if self.order == "asc":
            return slice(self.first, self.end)
        return slice(self.end - 1, self.first - 1 if self.first else None, -1) if self.end > self.first else slice(0, 0)


def page_of(
    dates: Dates,
    *,
    start: np.datetime64 | None,
    end: np.datetime64 | None,
    order: Order,
    limit: int,
    cursor: str | None,
    data_version: str,
) -> Page:
    """`start` and `end` are inclusive; `DataChanged` when the cursor was made on another version."""
    first = 0 if start is None else int(np.searchsorted(dates, start, "left"))
    stop = len(dates) if end is None else int(np.searchsorted(dates, end, "right"))
    if cursor is not None:
        at = Cursor.decode(cursor)
        if at.data_version != data_version:
            raise DataChanged
        last = np.datetime64(at.last, "D")
        if order == "asc":
            first = max(first, int(np.searchsorted(dates, last, "right")))
        else:
            stop = min(stop, int(np.searchsorted(dates, last, "left")))
    stop = max(first, stop)
    more = stop - first > limit
    if order == "asc":
        stop = min(stop, first + limit)
        edge = stop - 1
    else:
        first = max(first, stop - limit)
        edge = first
    return Page(first, stop, order, Cursor(str(dates[edge]), data_version).encode() if more else None)
