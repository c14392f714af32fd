"""Days where an exchange is, and the moments they begin at. `zone` is an IANA time zone; None: dates are days themselves."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

__all__ = ["day_of", "first_moment", "zoned"]

_EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(1024)
def first_moment(day: date, zone: str | None) -> int:
    """When the day begins, in seconds since 1970 (UTC); without a zone the day itself, in days since then."""
    if zone is None:
        return day.toordinal() - _EPOCH
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(midnight.timestamp())


def day_of(moment: Any, zone: str | None) -> date:
    """Of a datetime64[s] in UTC; without a zone, of a datetime64[D]."""
    if zone is None:
        day: date = moment.item()
        return day
    return datetime.fromtimestamp(int(moment.astype("int64")), UTC).astimezone(ZoneInfo(zone)).date()


def zoned(moments: Any, zone: str) -> pl.Series:
    """datetime64[s] in UTC as a column that knows its time zone."""
    clock = pl.Series("date", moments.astype("datetime64[us]")).dt
    return clock.replace_time_zone("UTC").dt.convert_time_zone(zone)
