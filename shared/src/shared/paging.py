"""A range of dated rows in pages: which rows, and where the next page begins."""

import base64
import binascii
import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from shared.errors import Conflict, InvalidInput

__all__ = ["DataChanged", "Order", "Page", "Range", "page_of"]

Order = Literal["asc", "desc"]


class DataChanged(Conflict):
    slug = "data-changed"
    title = "The data changed"

    def __init__(self) -> None:
        super().__init__("the data changed since this cursor was made; start again without it")


@dataclass(frozen=True, slots=True)
class Range:
    """What a request asks for. `start` and `end` are inclusive, None is open; `request` names the rest of what was asked, and
    `data_version` the data, so that a cursor is of use for this request on this data alone."""

    start: date | None
    end: date | None
    order: Order
    limit: int
    cursor: str | None
    request: str
    data_version: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows `first` to `end` (exclusive) of the ascending dates, to be read in `order`."""

    first: int
    end: int
    order: Order
    next_cursor: str | None

    @property
    def rows(self) -> slice:
        if self.order == "asc" or self.first == self.end:
            return slice(self.first, self.end)
        return slice(self.end - 1, self.first - 1 if self.first else None, -1)


def page_of(dates: Any, asked: Range, day: Callable[[date], Any]) -> Page:
    """`dates` is ascending, a list or an array; `day` turns a date into what it holds.

    Raises InvalidInput for a cursor of another request, `DataChanged` for one of other data.
    """
    first = 0 if asked.start is None else bisect_left(dates, day(asked.start))
    end = len(dates) if asked.end is None else bisect_right(dates, day(asked.end))
    if asked.cursor is not None:
        last = day(_decode(asked.cursor, asked))
        if asked.order == "asc":
            first = max(first, bisect_right(dates, last))
        else:
            end = min(end, bisect_left(dates, last))
    end = max(first, end)
    if end - first <= asked.limit:
        return Page(first, end, asked.order, None)
    if asked.order == "asc":
        end = first + asked.limit
        return Page(first, end, asked.order, _encode(str(dates[end - 1]), asked))
    first = end - asked.limit
    return Page(first, end, asked.order, _encode(str(dates[first]), asked))


def _digest(asked: Range) -> str:
    return hashlib.blake2b(f"{asked.order} {asked.request}".encode(), digest_size=8).hexdigest()


def _encode(last: str, asked: Range) -> str:
    raw = json.dumps([last, _digest(asked), asked.data_version]).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str, asked: Range) -> date:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        last, digest, version = json.loads(raw)
        day = date.fromisoformat(last)
    except (binascii.Error, ValueError, TypeError):
        raise InvalidInput.field("query", "cursor", msg="not a cursor of this API") from None
    if digest != _digest(asked):
        raise InvalidInput.field("query", "cursor", msg="a cursor of another request")
    if version != asked.data_version:
        raise DataChanged
    return day
