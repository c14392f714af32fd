"""Bars in Parquet files, as an operator brings them and as they ship.

bars.parquet, …           daily bars: symbol, date, open, high, low, close, volume, and adj_close where it is known
1min/bars.parquet, …      bars of one minute: `date` is when a bar begins, with a time zone or else in UTC; likewise 5min/, …, 4h/
splits.csv                symbol, date, ratio
symbols.csv               symbol, exchange, currency
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from data_service.adapters.calendars import calendar_of
from data_service.domain.bars import NUMBERS, PRICES, UNLISTED, Bars, Floats, Listing, Split, key_of
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars, UnknownExchange
from data_service.domain.intervals import SECONDS, StoredInterval
from shared.subjects import SYMBOL_PATTERN

__all__ = [
    "Beside",
    "read_beside",
    "read_files",
    "sample_path",
    "source_files",
    "source_paths",
    "with_beside",
    "write_dataset",
]

_REQUIRED = ("symbol", "date", *PRICES, "volume")
_SPLITS = "splits.csv"
_SYMBOLS = "symbols.csv"
_SYMBOLS_A_FILE = 250


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of symbols beside their bars."""

    splits: Mapping[str, tuple[Split, ...]]
    listings: Mapping[str, Listing]


@contextlib.contextmanager
def sample_path() -> Iterator[Path]:
    """The folder of the bars that ship with the service."""
    with as_file(files("data_service") / "sample") as folder:
        yield folder


def source_paths(source: Path) -> list[Path]:
    """Every file a source is made of, in order."""
    folder = source if source.is_dir() else source.parent
    bars = [path for paths in source_files(source).values() for path in paths]
    return bars + [path for name in (_SPLITS, _SYMBOLS) if (path := folder / name).exists()]


def source_files(source: Path) -> dict[StoredInterval, list[Path]]:
    """The Parquet files of each interval: the source is one, or a folder of them. UnfitBars when there is none."""
    if not source.is_dir():
        return {"1day": [source]}
    intervals: tuple[StoredInterval, ...] = get_args(StoredInterval)
    folders = {interval: source if interval == "1day" else source / interval for interval in intervals}
    found = {interval: sorted(folder.glob("*.parquet")) for interval, folder in folders.items()}
    if not any(found.values()):
        raise UnfitBars([f"{source.name}: no Parquet file"])
    return {interval: paths for interval, paths in found.items() if paths}


def read_beside(source: Path) -> Beside:
    """`UnfitBars` for a file that cannot be read."""
    folder = source if source.is_dir() else source.parent
    splits: dict[str, tuple[Split, ...]] = {}
    for symbol, date, ratio in _table(folder / _SPLITS, {"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64}):
        splits[symbol] = (*splits.get(symbol, ()), Split(np.datetime64(date, "D"), ratio))
    listed = _table(folder / _SYMBOLS, {"symbol": pl.String, "exchange": pl.String, "currency": pl.String})
    for exchange in {exchange for _symbol, exchange, _currency in listed}:
        try:
            calendar_of(exchange)
        except UnknownExchange as error:
            raise UnfitBars([f"{_SYMBOLS}: {error.detail}"]) from error
    return Beside(splits, {symbol: Listing(exchange, currency) for symbol, exchange, currency in listed})


def with_beside(bars: Bars, beside: Beside) -> Bars:
    return replace(bars, splits=beside.splits.get(bars.key, ()), listing=beside.listings.get(bars.key, Listing()))


def _table(path: Path, schema: Mapping[str, type[pl.DataType]]) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    try:
        return pl.read_csv(path, schema=schema).sort(*list(schema)[:2]).rows()
    except pl.exceptions.PolarsError as error:
        raise UnfitBars([f"{path.name}: {error}"]) from error


def read_files(paths: Sequence[Path], beside: Beside, interval: StoredInterval = "1day") -> list[Bars]:
    """`UnfitBars` names every fault of every file."""
    faults: list[str] = []
    frames = []
    for path in paths:
        try:
            frames.append(_frame_of(path, interval))
        except UnfitBars as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    whole = pl.concat(frames) if frames else None
    if whole is not None and len(frames) > 1:
        whole = whole.sort("symbol", "date", maintain_order=True)
    parts = whole.partition_by("symbol", maintain_order=True) if whole is not None else []
    found = [bars for frame in parts for bars in _bars_of(frame, beside, interval)]
    faults += [fault for bars in found for fault in faults_of(bars)]
    if faults:
        raise UnfitBars(faults)
    return found


def _frame_of(path: Path, interval: StoredInterval) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UnfitBars([f"not readable as Parquet ({type(error).__name__})"]) from error
    if missing := [name for name in _REQUIRED if name not in frame.columns]:
        raise UnfitBars([f"{name}: column missing" for name in missing])
    if "adj_close" not in frame.columns or interval in SECONDS:
        frame = frame.with_columns(pl.col("close").alias("adj_close"))
    try:
        # strict casts refuse what would change; a null stays null and is refused below
        frame = frame.select(
            pl.col("symbol").cast(pl.String),
            pl.col("date").cast(pl.Date) if interval == "1day" else _begins(frame["date"]),
            *(pl.col(name).cast(pl.Float64) for name in NUMBERS),
        )
    except pl.exceptions.PolarsError as error:
        raise UnfitBars([f"a column has another type than documented ({error})"]) from error
    nulls = [name for name in frame.columns if frame[name].null_count()]
    if nulls:
        raise UnfitBars([f"{name}: null in row {int(frame[name].is_null().arg_max() or 0)}" for name in nulls])
    unfit = frame["symbol"].unique().sort()
    if names := unfit.filter(~unfit.str.contains(f"^(?:{SYMBOL_PATTERN})$")).to_list():
        raise UnfitBars([f"symbol: {name[:40]!r} is none" for name in names])
    return frame.sort("symbol", "date", maintain_order=True)


def _begins(date: pl.Series) -> pl.Series:
    """In UTC."""
    if not isinstance(date.dtype, pl.Datetime):
        raise UnfitBars([f"date: a column of {date.dtype}, where bars of less than a day have a date and time"])
    moments = date if date.dtype.time_zone is None else date.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return moments.cast(pl.Datetime("us"))


def _bars_of(frame: pl.DataFrame, beside: Beside, interval: StoredInterval) -> Iterator[Bars]:
    """Under each of their keys."""
    symbol = str(frame["symbol"][0])
    columns: dict[str, Any] = {name: np.ascontiguousarray(frame[name].to_numpy(), dtype=np.float64) for name in NUMBERS}
    dates = np.ascontiguousarray(frame["date"].to_numpy())
    if interval == "1day":
        yield with_beside(Bars(symbol, dates.astype("datetime64[D]"), **columns), beside)
        return
    months = dates.astype("datetime64[M]")
    for month in np.unique(months):
        part = slice(*np.searchsorted(months, [month, month + np.timedelta64(1, "M")]))
        moments = np.ascontiguousarray(dates[part].astype("datetime64[s]"))
        yield Bars(key_of(symbol, interval, month), moments, **{name: column[part] for name, column in columns.items()})


def write_dataset(folder: Path, made: Iterable[Bars]) -> int:
    """Writes daily bars as `bars-<n>.parquet` of a few hundred symbols each, `splits.csv` and `symbols.csv`; returns the number
    of bars."""
    folder.mkdir(parents=True, exist_ok=True)
    splits: list[tuple[str, str, float]] = []
    listed: list[tuple[str, str | None, str | None]] = []
    rows = 0
    for number, chunk in enumerate(_chunks(made)):
        frames = [pl.DataFrame({"symbol": [b.symbol] * len(b), "date": b.date, **_numbers(b)}) for b in chunk]
        pl.concat(frames).write_parquet(folder / f"bars-{number:04d}.parquet", compression="zstd")
        rows += sum(len(bars) for bars in chunk)
        splits += [(bars.symbol, str(split.date), split.ratio) for bars in chunk for split in bars.splits]
        listed += [(bars.symbol, bars.listing.exchange, bars.listing.currency) for bars in chunk if bars.listing != UNLISTED]
    columns = {"symbol": pl.String, "date": pl.String, "ratio": pl.Float64}
    pl.DataFrame(splits, schema=columns, orient="row").write_csv(folder / _SPLITS)
    names = dict.fromkeys(("symbol", "exchange", "currency"), pl.String)
    pl.DataFrame(listed, schema=names, orient="row").write_csv(folder / _SYMBOLS)
    return rows


def _chunks(made: Iterable[Bars]) -> Iterator[list[Bars]]:
    left = iter(made)
    while chunk := list(islice(left, _SYMBOLS_A_FILE)):
        yield chunk


def _numbers(bars: Bars) -> dict[str, Floats]:
    return {name: getattr(bars, name) for name in NUMBERS}
