"""The calendars that ship with the service: one file, of which one exchange at a time is read, when it is first asked for."""

import contextlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import overload

import numpy as np
import polars as pl

from data_service.domain.calendars import ALWAYS_OPEN, Calendar, Moments, SessionCalendar, utc_of
from data_service.domain.errors import UnknownExchange

__all__ = ["calendar_of", "exchanges"]

_EPOCH = np.datetime64("1970-01-01", "D")
_MS_A_MINUTE = 60_000


@contextlib.contextmanager
def _sessions_path() -> Iterator[Path]:
    """The file that `scripts/make_calendars.py` writes; its PROVENANCE.md says what the columns mean."""
    with as_file(files("data_service") / "calendars" / "sessions.parquet") as path:
        yield path


def exchanges() -> tuple[str, ...]:
    """Every name `calendar_of` knows: of calendars (market identifier codes, mostly) and their aliases."""
    return tuple(sorted(_calendars_by_name()))


@overload
def calendar_of(exchange: None) -> None: ...


@overload
def calendar_of(exchange: str) -> Calendar: ...


def calendar_of(exchange: str | None) -> Calendar | None:
    """None for no exchange; UnknownExchange for one there is no calendar of. "24/7" is the exchange that never closes."""
    if exchange is None:
        return None
    known = _calendars_by_name()
    if exchange not in known:
        raise UnknownExchange(exchange, _similar(exchange, known))
    return _load(known[exchange])


def _similar(exchange: str, known: Mapping[str, str]) -> list[str]:
    by_capitals = {name.upper(): name for name in known}
    return [by_capitals[match] for match in get_close_matches(exchange[:32].upper(), by_capitals)]


@lru_cache(maxsize=1)
def _calendars_by_name() -> Mapping[str, str]:
    with _sessions_path() as path:
        table = pl.read_parquet(path, columns=["exchange", "aliases"])
    names = {ALWAYS_OPEN.name: ALWAYS_OPEN.name}
    for exchange, aliases in table.iter_rows():
        names |= dict.fromkeys((exchange, *aliases), exchange)
    return names


@lru_cache(maxsize=128)
def _load(name: str) -> Calendar:
    if name == ALWAYS_OPEN.name:
        return ALWAYS_OPEN
    with _sessions_path() as path:
        # names ascend, so the statistics of the row groups lead to the one that is needed
        row = pl.scan_parquet(path).filter(pl.col("exchange") == name).collect()
    time_zone = str(row["time_zone"].item())
    days = _EPOCH + np.cumsum(row["gap"].explode().to_numpy().astype("timedelta64[D]"))

    def moments(column: str) -> Moments:
        minutes = row[column].explode().cast(pl.Int64)
        return utc_of(days + (minutes * _MS_A_MINUTE).cast(pl.Duration("ms")).to_numpy(), time_zone)

    return SessionCalendar(
        name=name,
        time_zone=time_zone,
        first=np.datetime64(row["first"].item(), "D"),
        last=np.datetime64(row["last"].item(), "D"),
        days=days,
        opens=moments("open"),
        closes=moments("close"),
        break_starts=moments("break_start"),
        break_ends=moments("break_end"),
    )
