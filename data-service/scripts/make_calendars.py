"""Makes the shipped sessions of exchanges from the library `exchange-calendars`, and says the checksum.

    make calendars

A row of the file is a calendar: PROVENANCE.md beside it says what its columns mean.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import polars as pl

from data_service.domain.calendars import ALWAYS_OPEN, utc_of

_FILE = Path(__file__).parents[1] / "src/data_service/calendars/sessions.parquet"
_FIRST = pd.Timestamp("1970-01-01")
_LAST = pd.Timestamp("2027-12-31")
_KNOWN_TO_ALL = pd.Timestamp("2025-01-01")
_MINUTES = pl.List(pl.Int16)
_SCHEMA = {
    "exchange": pl.String,
    "time_zone": pl.String,
    "aliases": pl.List(pl.String),
    "first": pl.Date,
    "last": pl.Date,
    "gap": pl.List(pl.UInt16),
    "open": _MINUTES,
    "close": _MINUTES,
    "break_start": _MINUTES,
    "break_end": _MINUTES,
}
# one exchange is read at a time: small groups are quick to decode, large ones pack better
_CALENDARS_A_GROUP = 4


def row_of(name: str) -> dict[str, Any]:
    bounds = exchange_calendars.get_calendar(name, start=_KNOWN_TO_ALL, end=_KNOWN_TO_ALL + pd.DateOffset(months=1))
    first = max(_FIRST, bounds.bound_min() or _FIRST)
    last = min(_LAST, bounds.bound_max() or _LAST)
    calendar = exchange_calendars.get_calendar(name, start=first, end=last)
    days = calendar.sessions.to_numpy().astype("datetime64[D]")
    zone = str(calendar.tz)
    return {
        "exchange": name,
        "time_zone": zone,
        "aliases": sorted(alias for alias, of in exchange_calendars.aliases_to_names().items() if of == name),
        "first": first.date(),
        "last": last.date(),
        "gap": np.diff(days.astype(np.int64), prepend=0).tolist(),
        **{str(name): minutes_of(times, days, zone) for name, times in calendar.schedule.items()},
    }


def minutes_of(times: pd.Series, days: np.ndarray, time_zone: str) -> list[int | None]:
    """Minutes of the local clock since the session's local midnight; ValueError when they do not lead back to the moment."""
    moments = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    local = times.dt.tz_convert(time_zone).dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    since = (local - days).astype("timedelta64[m]")
    if not np.array_equal(utc_of(days + since, time_zone), moments, equal_nan=True):
        raise ValueError(f"{time_zone}: a {times.name} is no whole minute, or stands on an hour that comes twice")
    return [None if np.isnat(minutes) else int(minutes.astype(np.int64)) for minutes in since]


def main() -> None:
    names = sorted(set(exchange_calendars.get_calendar_names(include_aliases=False)) - {ALWAYS_OPEN.name})
    table = pl.DataFrame([row_of(name) for name in names], schema=_SCHEMA)
    table.write_parquet(_FILE, compression="zstd", compression_level=22, row_group_size=_CALENDARS_A_GROUP)
    size = _FILE.stat().st_size
    sys.stdout.write(f"exchange-calendars {exchange_calendars.__version__}: {table.height} calendars, {size} bytes\n")
    sys.stdout.write(f"sessions.parquet {hashlib.sha256(_FILE.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
