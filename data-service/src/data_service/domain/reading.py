"""Columns as they are sent, of text or of whatever a Parquet file has, and what they become: null where a value is unfit."""

from datetime import datetime
from typing import Literal

import polars as pl

from shared.subjects import SYMBOL_PATTERN

__all__ = ["Typed", "read_date", "read_moment", "read_number", "read_symbol", "without_offset"]

Typed = tuple[pl.Series | None, str]
"""The column, None when it is of a type that cannot be read, and the reason of what is unfit."""

_YEARS = (-11_676_096_000, 253_402_214_400)
"""1600 and 9999-12-31 in seconds since 1970."""
_MOMENT = (
    r"^(?<day>\d{4}-\d\d-\d\d)[T ](?<time>\d\d:\d\d)(?::(?<seconds>\d\d)(?:\.0+)?)?"
    r"\s?(?:(?<zulu>Z)|(?<sign>[+-])(?<hours>\d\d):?(?<minutes>\d\d))?$"
)


def read_number(raw: pl.Series) -> Typed:
    """Also from Decimal and the integers of any width; a number too large for float64 becomes infinite, which is then refused."""
    reason = "not a number"
    known = raw.dtype.is_numeric() or raw.dtype in {pl.String, pl.Null}
    return (raw.cast(pl.Float64, strict=False), reason) if known else (None, reason)


def _within_years(raw: pl.Series, unit: Literal["ms", "us", "ns"]) -> pl.Series:
    """Moments before 1600 and after 9999 are null: what is too far off has no year, and no library that can tell its time."""
    seconds = raw.to_physical() // {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    return raw.set(~seconds.is_between(*_YEARS), None)


def read_date(raw: pl.Series) -> Typed:
    """A date, or midnight of it, whatever its zone."""
    reason = "not a date (YYYY-MM-DD)"
    if raw.dtype == pl.String:
        days = raw.str.to_date("%Y-%m-%d", strict=False)
        if days.null_count() > raw.null_count():
            bare = raw.str.replace(r"[T ]00:00(:00(\.0+)?)?(Z|[+-]\d\d:?\d\d)?$", "")
            days = days.fill_null(bare.str.to_date("%Y-%m-%d", strict=False))
        return days, reason
    if isinstance(raw.dtype, pl.Datetime):
        local = _within_years(raw, raw.dtype.time_unit).dt.replace_time_zone(None)
        return local.cast(pl.Date).set(local.dt.time() != datetime.min.time(), None), "not midnight, as daily bars are"
    return (raw.cast(pl.Date), reason) if raw.dtype in {pl.Date, pl.Null} else (None, reason)


def read_moment(raw: pl.Series) -> Typed:
    """In UTC where it has an offset, else as it stands: `without_offset` tells the two apart."""
    reason = "not a date and time (YYYY-MM-DDThh:mm, with seconds and an offset or without)"
    if isinstance(raw.dtype, pl.Datetime):
        near = _within_years(raw, raw.dtype.time_unit)
        moments = near.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if raw.dtype.time_zone else near
        return moments.cast(pl.Datetime("us")), reason
    if raw.dtype != pl.String:
        return (raw.cast(pl.Datetime("us")), reason) if raw.dtype == pl.Null else (None, reason)
    parts = raw.str.extract_groups(_MOMENT).struct.unnest()
    minutes = pl.col("hours").cast(pl.Int32) * 60 + pl.col("minutes").cast(pl.Int32)
    east = pl.when(pl.col("sign") == "-").then(-minutes).otherwise(minutes).fill_null(0)
    text = pl.format("{}T{}:{}", "day", "time", pl.col("seconds").fill_null("00"))
    moment = text.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    return parts.select((moment - pl.duration(minutes=east)).alias(raw.name)).to_series(), reason


def without_offset(raw: pl.Series) -> pl.Series:
    """Whether each moment is told without saying how far from UTC it is."""
    if raw.dtype == pl.String:
        return ~raw.str.contains(r"(Z|[+-]\d\d:?\d\d)[\s\"]*$")
    naive = isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is None
    return pl.Series([naive], dtype=pl.Boolean).new_from_index(0, len(raw))


def read_symbol(raw: pl.Series) -> Typed:
    reason = "not a symbol (letters, digits and . _ -, at most 32)"
    if not isinstance(raw.dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        return None, reason
    text = raw.cast(pl.String)
    upper = text.str.to_uppercase()
    # ASCII alone: the capitals of some letters beyond it are within it (ß, ſ)
    plain = text.str.len_bytes() == text.str.len_chars()
    return upper.set(~(plain & upper.str.contains(f"^(?:{SYMBOL_PATTERN})$")), None), reason
