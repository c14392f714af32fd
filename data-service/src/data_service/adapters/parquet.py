"""Bars in Parquet files: the dataset that is loaded, and the overlay that keeps live bars."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from data_service.domain.bars import PRICES, Bar, Bars, Floats, Split
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars
from data_service.domain.store import BarStore

__all__ = ["Overlay", "load_store", "read_bars", "sample_path", "write_dataset"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_REQUIRED = ("symbol", "date", *PRICES, "volume")
_SPLITS = "splits.csv"
_SYMBOLS_A_FILE = 250
_LIVE = {"date": pl.Date, **dict.fromkeys((*PRICES, "volume"), pl.Float64)}


@contextlib.contextmanager
def sample_path() -> Iterator[Path]:
    """The folder of the bars that ship with the service."""
    with as_file(files("data_service") / "sample") as folder:
        yield folder


def load_store(dataset: Path | None, overlay: "Overlay") -> BarStore:
    """The dataset (None: the shipped sample) with the overlay's bars over it; `UnfitBars` names every fault of every file."""
    if dataset is None:
        with sample_path() as folder:
            stored = read_bars(folder)
    else:
        stored = read_bars(dataset)
    return BarStore(overlay.apply_to(stored))


def read_bars(dataset: Path) -> list[Bars]:
    """A Parquet file or a folder of them, with `splits.csv` (symbol, date, ratio) beside them where splits are known."""
    paths = sorted(dataset.glob("*.parquet")) if dataset.is_dir() else [dataset]
    if not paths:
        raise UnfitBars([f"{dataset.name}: no Parquet file"])
    splits = _read_splits((dataset if dataset.is_dir() else dataset.parent) / _SPLITS)
    faults: list[str] = []
    frames = []
    for path in paths:
        try:
            frames.append(_frame_of(path))
        except UnfitBars as error:
            faults += [f"{path.name}: {fault}" for fault in error.faults]
    found = [_bars_of(frame, splits) for frame in pl.concat(frames).partition_by("symbol")] if frames else []
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


def _bars_of(frame: pl.DataFrame, splits: dict[str, tuple[Split, ...]]) -> Bars:
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
    pl.DataFrame(splits, schema=columns, orient="row").write_csv(folder / _SPLITS)
    return rows


def _chunks(made: Iterable[Bars]) -> Iterator[list[Bars]]:
    left = iter(made)
    while chunk := list(islice(left, _SYMBOLS_A_FILE)):
        yield chunk


def _numbers(bars: Bars) -> dict[str, Floats]:
    return {name: getattr(bars, name) for name in _NUMBERS}


class Overlay:
    """The live bars, a file a symbol, each replaced by rename: a crash leaves the old or the new.

    Only they are in it, so that a new dataset beneath them is seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "live"
        self._bars: dict[str, dict[np.datetime64, Bar]] = {}

    def apply_to(self, stored: list[Bars]) -> Iterator[Bars]:
        """The stored bars, and symbols of its own, with every live bar in its place."""
        by_symbol = {bars.symbol: bars for bars in stored}
        for path in sorted(self._folder.glob("*.parquet")):
            symbol = path.name.removesuffix(".parquet")
            kept = self._bars[symbol] = {bar.date: bar for bar in _live_bars(path)}
            bars = by_symbol.get(symbol, Bars.empty(symbol))
            for date in sorted(kept):
                bars = bars.with_bar(kept[date])
            by_symbol[symbol] = bars
        yield from by_symbol.values()

    def keep(self, symbol: str, bar: Bar) -> None:
        """Returns once the bar is on the disk."""
        kept = {**self._bars.get(symbol, {}), bar.date: bar}
        rows = [{**asdict(bar), "date": bar.date.item()} for bar in kept.values()]
        frame = pl.DataFrame(rows, schema=_LIVE).sort("date")
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{symbol}.new"
        with temporary.open("wb") as file:
            frame.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._folder / f"{symbol}.parquet")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._bars[symbol] = kept


def _live_bars(path: Path) -> Iterator[Bar]:
    for row in pl.read_parquet(path).iter_rows(named=True):
        yield Bar(**{**row, "date": np.datetime64(row["date"], "D")})
