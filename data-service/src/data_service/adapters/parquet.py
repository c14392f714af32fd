"""Bars in Parquet files, as an operator brings them and as they ship."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from data_service.domain.bars import PRICES, Bars, Floats, Split
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars

__all__ = ["SPLITS", "read_bars", "read_files", "read_splits", "sample_path", "source_files", "write_dataset"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_REQUIRED = ("symbol", "date", *PRICES, "volume")
SPLITS = "splits.csv"
_SYMBOLS_A_FILE = 250


@contextlib.contextmanager
def sample_path() -> Iterator[Path]:
    """The folder of the bars that ship with the service."""
    with as_file(files("data_service") / "sample") as folder:
        yield folder


def source_files(source: Path) -> list[Path]:
    """The Parquet files of a source: it is one, or a folder of them. UnfitBars when there is none."""
    paths = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not paths:
        raise UnfitBars([f"{source.name}: no Parquet file"])
    return paths


def read_bars(source: Path) -> list[Bars]:
    """All bars of a source, with `splits.csv` (symbol, date, ratio) beside them where splits are known."""
    return read_files(source_files(source), read_splits(source))


def read_splits(source: Path) -> dict[str, tuple[Split, ...]]:
    return _read_splits((source if source.is_dir() else source.parent) / SPLITS)


def read_files(paths: Sequence[Path], splits: Mapping[str, tuple[Split, ...]]) -> list[Bars]:
    """`UnfitBars` names every fault of every file."""
    faults: list[str] = []
    frames = []
    for path in paths:
        try:
            frames.append(_frame_of(path))
        except UnfitBars as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    whole = pl.concat(frames) if frames else None
    if whole is not None and len(frames) > 1:
        whole = whole.sort("symbol", "date", maintain_order=True)
    found = [_bars_of(frame, splits) for frame in whole.partition_by("symbol", maintain_order=True)] if whole is not None else []
    faults += [fault for bars in found for fault in faults_of(bars)]
    if faults:
        raise UnfitBars(faults)
    return found


def _frame_of(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UnfitBars([f"not readable as Parquet ({type(error).__name__})"]) from error
    if missing := [name for name in _REQUIRED if name not in frame.columns]:
        raise UnfitBars([f"{name}: column missing" for name in missing])
    if "adj_close" not in frame.columns:
        frame = frame.with_columns(pl.col("close").alias("adj_close"))
    try:
        # strict casts refuse what would change; a null stays null and is refused below
        frame = frame.select(
            pl.col("symbol").cast(pl.String),
            pl.col("date").cast(pl.Date),
            *(pl.col(name).cast(pl.Float64) for name in _NUMBERS),
        )
    except pl.exceptions.PolarsError as error:
        raise UnfitBars([f"a column has another type than documented ({error})"]) from error
    nulls = [name for name in frame.columns if frame[name].null_count()]
    if nulls:
        raise UnfitBars([f"{name}: null in row {int(frame[name].is_null().arg_max() or 0)}" for name in nulls])
    return frame.sort("symbol", "date", maintain_order=True)


def _bars_of(frame: pl.DataFrame, splits: Mapping[str, tuple[Split, ...]]) -> Bars:
    symbol = str(frame["symbol"][0])
    columns: dict[str, Floats] = {name: np.ascontiguousarray(frame[name].to_numpy(), dtype=np.float64) for name in _NUMBERS}
    dates = np.ascontiguousarray(frame["date"].to_numpy()).astype("datetime64[D]")
    return Bars(symbol=symbol, date=dates, splits=splits.get(symbol, ()), **columns)


def _read_splits(path: Path) -> dict[str, tuple[Split, ...]]:
    if not path.exists():
        return {}
    frame = pl.read_csv(path, schema={"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64}).sort("symbol", "date")
    splits: dict[str, tuple[Split, ...]] = {}
    for symbol, date, ratio in frame.iter_rows():
        splits[symbol] = (*splits.get(symbol, ()), Split(np.datetime64(date, "D"), ratio))
    return splits


def write_dataset(folder: Path, made: Iterable[Bars]) -> int:
    """Writes `bars-<n>.parquet` of a few hundred symbols each and `splits.csv`; returns the number of bars."""
    folder.mkdir(parents=True, exist_ok=True)
    splits: list[tuple[str, str, float]] = []
    rows = 0
    for number, chunk in enumerate(_chunks(made)):
        frames = [pl.DataFrame({"symbol": [b.symbol] * len(b), "date": b.date, **_numbers(b)}) for b in chunk]
        pl.concat(frames).write_parquet(folder / f"bars-{number:04d}.parquet", compression="zstd")
        rows += sum(len(bars) for bars in chunk)
        splits += [(bars.symbol, str(split.date), split.ratio) for bars in chunk for split in bars.splits]
    columns = {"symbol": pl.String, "date": pl.String, "ratio": pl.Float64}
    pl.DataFrame(splits, schema=columns, orient="row").write_csv(folder / SPLITS)
    return rows


def _chunks(made: Iterable[Bars]) -> Iterator[list[Bars]]:
    left = iter(made)
    while chunk := list(islice(left, _SYMBOLS_A_FILE)):
        yield chunk


def _numbers(bars: Bars) -> dict[str, Floats]:
    return {name: getattr(bars, name) for name in _NUMBERS}
