"""What one caller, or one tenant, has asked for: rows of a time and of what it is told apart by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from ratelimit_service.domain.rollups import Grain
from shared.errors import InvalidInput

__all__ = ["COUNTS", "By", "History", "HistoryFilter", "Row", "Window", "window_of"]

By = Literal["endpoint", "key", "user"]
Row = Mapping[str, Any]

COUNTS = ("requests", "units", "succeeded", "rate_limited", "client_errors", "server_errors", "cache_hits", "bytes_out")
"""Of each row. Requests are what was answered below 400, with 429, with another 4xx and with 5xx together."""

_MOST_DAYS: Mapping[Grain, int] = {"minute": 1, "hour": 31, "day": 800}
"""In one question."""
_FIRST, _LAST = date(2000, 1, 1), date(2999, 12, 31)
"""Days that may be asked for; what lies beyond has neither been counted nor a day after it."""
_DEFAULT_DAYS: Mapping[Grain, int] = {"minute": 1, "hour": 2, "day": 30}


@dataclass(frozen=True, slots=True)
class Window:
    """Whole days, both in it."""

    first: date
    last: date

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """Not in it."""
        return datetime.combine(self.last, time(), UTC) + timedelta(days=1)


def window_of(start: date | None, end: date | None, grain: Grain, today: date) -> Window:
    """Up to today where no end is given, and as many days as the grain's default where no start is; InvalidInput."""
    last = end or today
    if any(day is not None and not _FIRST <= day <= _LAST for day in (start, end)):
        raise InvalidInput.field("query", "end_date" if start is None else "start_date", msg=f"not between {_FIRST} and {_LAST}")
    first = start or last - timedelta(days=_DEFAULT_DAYS[grain] - 1)
    if first > last:
        raise InvalidInput.field("query", "end_date", msg="before start_date")
    if (last - first).days >= _MOST_DAYS[grain]:
        raise InvalidInput.field("query", "start_date", msg=f"by the {grain}, at most {_MOST_DAYS[grain]} days at once")
    return Window(first, last)


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """`user_id` None is everybody of the tenant; `after` the time and the name behind which a page begins."""

    tenant_id: UUID
    user_id: UUID | None
    key_id: UUID | None
    window: Window
    grain: Grain
    by: By
    after: tuple[datetime, Sequence[str]] | None
    limit: int


class History(Protocol):
    async def rows(self, asked: HistoryFilter) -> Sequence[Row]:
        """In the order of time and then of what they are told apart by; Unavailable."""
        ...
