"""A range of dated rows in pages: which rows, and where the next page begins."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import orjson

from shared.errors import Conflict, InvalidInput
from shared.local_time import first_moment

__all__ = ["DataChanged", "Order", "Page", "Range", "page_of"]

Order = Literal["asc", "desc"]


class DataChanged(Conflict):
    slug = "data-changed"
    title = "The data changed"

    def __init__(self) -> None:
        super().__init__("the data changed since this cursor was made; start again without it")


@dataclass(frozen=True, slots=True)
class Range:
    """What a request asks for. `start` and `end` are days, inclusive, None is open; `request` names the rest of what was asked,
    and `data_version` the data, so that a cursor is of use for this request on this data alone."""

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


def page_of(dates: npt.NDArray[np.datetime64], asked: Range, zone: str | None = None) -> Page:
    """`dates` ascend: days (datetime64[D]), or with a time zone moments in UTC (datetime64[s]).

    Raises InvalidInput for a cursor of another request, `DataChanged` for one of other data.
    """
    numbers = dates.view(np.int64)
    first = 0 if asked.start is None else int(numbers.searchsorted(first_moment(asked.start, zone)))
    end = len(dates)
    if asked.end is not None and asked.end < date.max:  # which has no day after it, and no bar
        end = int(numbers.searchsorted(first_moment(asked.end + timedelta(days=1), zone)))
    if asked.cursor is not None:
        last = _decode(asked.cursor, asked)
        if asked.order == "asc":
            first = max(first, int(numbers.searchsorted(last, "right")))
        else:
            end = min(end, int(numbers.searchsorted(last)))
    end = max(first, end)
    if end - first <= asked.limit:
        return Page(first, end, asked.order, None)
    if asked.order == "asc":
        end = first + asked.limit
        return Page(first, end, asked.order, _encode(int(numbers[end - 1]), asked))
    first = end - asked.limit
    return Page(first, end, asked.order, _encode(int(numbers[first]), asked))


def _digest(asked: Range) -> str:
    return hashlib.blake2b(f"{asked.order} {asked.request}".encode(), digest_size=8).hexdigest()


def _encode(last: int, asked: Range) -> str:
    raw = orjson.dumps([last, _digest(asked), asked.data_version])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str, asked: Range) -> int:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        last, digest, version = orjson.loads(raw)
        number = int(np.int64(last))
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise InvalidInput.field("query", "cursor", msg="not a cursor of this API") from None
    if digest != _digest(asked):
        raise InvalidInput.field("query", "cursor", msg="a cursor of another request")
    if version != asked.data_version:
        raise DataChanged
    return number
