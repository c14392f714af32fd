"""A folder of CSV and Parquet files as a provider.

Columns by name, in any case and order: date, open, high, low, close, volume, and optionally symbol and adj_close (`Adj Close`). A
file without a symbol column is of the symbol it is named after. `splits.csv` (symbol, date, ratio) and
`symbols.csv` beside them are no bars. Bars of less than a day stand in a folder within, named after their interval; their `date`
is when they begin, in UTC where it does not say.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_service.domain.bars import PRICES, Bars, Split, key_of
from data_service.domain.intervals import StoredInterval
from data_service.providers.base import ProviderError, UnknownSymbol, between, kalpi_symbol

__all__ = ["Files"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_REQUIRED = ("date", *PRICES, "volume")
_SPLITS = "splits.csv"
_NO_BARS = (_SPLITS, "symbols.csv")
_KEPT = 2
"""files that are kept in memory; symbols are listed file by file, so each is read once or twice"""


class Files:
    """`folder` may also be one file. What is in there is looked at once."""

    def __init__(self, folder: Path, interval: StoredInterval = "1day") -> None:
        """ProviderError when there is nothing to read."""
        self.name = f"files:{folder.resolve()}"
        self._interval = interval
        there = folder / interval if interval != "1day" and folder.is_dir() else folder
        found = sorted(there.iterdir()) if there.is_dir() else [there]
        self._paths = [path for path in found if path.suffix in {".csv", ".parquet"} and path.name not in _NO_BARS]
        if not self._paths or not all(path.is_file() for path in self._paths):
            raise ProviderError(f"{there}: no CSV or Parquet file")
        self._splits = _read_splits((folder if folder.is_dir() else folder.parent) / _SPLITS)
        self._read = lru_cache(_KEPT)(_by_symbol)
        self._where: dict[str, list[Path]] | None = None

    def symbols(self) -> Sequence[str]:
        return list(self._index())

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Bars:
        known = kalpi_symbol(symbol)
        paths = self._index().get(known)
        if paths is None:
            raise UnknownSymbol(f"no file has {known}")
        # of one date in two files both stay: the checks of who takes the bars name it
        rows = pl.concat([self._read(path, self._interval)[known] for path in paths]).sort("date", maintain_order=True)
        columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name].to_numpy(), np.float64) for name in _NUMBERS}
        dates = rows["date"].to_numpy()
        if self._interval != "1day":
            # under the key of the first month: whoever stores them puts each in its own
            return between(Bars(key_of(known, self._interval, dates[0]), dates.astype("datetime64[s]"), **columns), start, end)
        return between(Bars(known, dates.astype("datetime64[D]"), splits=self._splits.get(known, ()), **columns), start, end)

    def _index(self) -> Mapping[str, list[Path]]:
        """Kalpi's symbols in the order of the files."""
        if self._where is None:
            where: dict[str, list[Path]] = {}
            for path in self._paths:
                for symbol in self._read(path, self._interval):
                    where.setdefault(symbol, []).append(path)
            self._where = where
        return self._where


def _by_symbol(path: Path, interval: str) -> Mapping[str, pl.DataFrame]:
    """ProviderError names the file, and the column at fault."""
    try:
        raw = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, try_parse_dates=True)
        frame = raw.rename(lambda name: name.strip().lower().replace(" ", "_"))
        if missing := [name for name in _REQUIRED if name not in frame.columns]:
            raise ProviderError(f"{path.name}: no column {', '.join(missing)}")
        adjusted = pl.col("adj_close") if "adj_close" in frame.columns else pl.col("close")
        named = pl.col("symbol").cast(pl.String) if "symbol" in frame.columns else pl.lit(path.stem)
        frame = frame.select(
            named.alias("symbol"),
            pl.col("date").cast(pl.Date) if interval == "1day" else _in_utc(frame["date"]),
            *(pl.col(name).cast(pl.Float64) for name in _REQUIRED[1:]),
            adjusted.cast(pl.Float64).alias("adj_close"),
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ProviderError(f"{path.name}: {error}") from error
    if holes := [name for name in frame.columns if frame[name].null_count()]:
        raise ProviderError(f"{path.name}: nothing in row {int(frame[holes[0]].is_null().arg_max() or 0) + 1} of {holes[0]}")
    parts: dict[str, list[pl.DataFrame]] = {}
    for part in frame.partition_by("symbol", maintain_order=True):
        parts.setdefault(_symbol_in(path, part["symbol"][0]), []).append(part)
    return {symbol: pl.concat(frames) for symbol, frames in parts.items()}


def _in_utc(date: pl.Series) -> pl.Series:
    if not isinstance(date.dtype, pl.Datetime):
        return date.cast(pl.Datetime("us"))
    return (date.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if date.dtype.time_zone else date).cast(pl.Datetime("us"))


def _symbol_in(path: Path, native: str) -> str:
    """ProviderError, and not UnknownSymbol: it is the file that is wrong, not who asked."""
    try:
        return kalpi_symbol(native)
    except UnknownSymbol as error:
        raise ProviderError(f"{path.name}: {error}") from error


def _read_splits(path: Path) -> dict[str, tuple[Split, ...]]:
    if not path.exists():
        return {}
    try:
        frame = pl.read_csv(path, schema={"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64}).sort("symbol", "date")
    except pl.exceptions.PolarsError as error:
        raise ProviderError(f"{path.name}: {error}") from error
    splits: dict[str, tuple[Split, ...]] = {}
    for native, date, ratio in frame.iter_rows():
        symbol = _symbol_in(path, native)
        splits[symbol] = (*splits.get(symbol, ()), Split(np.datetime64(date, "D"), ratio))
    return splits
