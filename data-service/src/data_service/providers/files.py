"""A folder of CSV and Parquet files as a provider.

Columns by name, in any case and order: date, open, high, low, close, volume, and optionally symbol and adj_close (`Adj Close`). A
file without a symbol column is of the symbol it is named after. `splits.csv` (symbol, date, ratio) and
`symbols.csv` beside them are no bars.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_service.domain.bars import PRICES, Bars, Split
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

    def __init__(self, folder: Path) -> None:
        """ProviderError when there is nothing to read."""
        self.name = f"files:{folder.resolve()}"
        found = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        self._paths = [path for path in found if path.suffix in {".csv", ".parquet"} and path.name not in _NO_BARS]
        if not self._paths or not all(path.is_file() for path in self._paths):
            raise ProviderError(f"{folder}: no CSV or Parquet file")
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
        rows = pl.concat([self._read(path)[known] for path in paths]).sort("date", maintain_order=True)
        columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name].to_numpy(), np.float64) for name in _NUMBERS}
        days = rows["date"].to_numpy().astype("datetime64[D]")
        return between(Bars(known, days, splits=self._splits.get(known, ()), **columns), start, end)

    def _index(self) -> Mapping[str, list[Path]]:
        """Kalpi's symbols in the order of the files."""
        if self._where is None:
            where: dict[str, list[Path]] = {}
            for path in self._paths:
                for symbol in self._read(path):
                    where.setdefault(symbol, []).append(path)
            self._where = where
        return self._where


def _by_symbol(path: Path) -> Mapping[str, pl.DataFrame]:
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
            pl.col("date").cast(pl.Date),
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
