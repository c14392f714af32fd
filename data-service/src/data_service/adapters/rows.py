"""Changed rows in Parquet: what imports and live bars have put over the source, one file for each commit."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.adapters.segments import sync_folder
from data_service.domain.bars import PRICES, Bars, Floats, Split
from data_service.domain.ports import Snapshot

__all__ = ["apply_rows", "changed_rows", "merge_rows", "read_rows", "write_rows"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "date": pl.Date,
    **dict.fromkeys(_NUMBERS, pl.Float64),
    # whether adj_close followed from the close by the ratio of its neighbour, and so has to from another source's as well
    "derived": pl.Boolean,
    # splits: all of the symbol's, on its last row; null where they were not changed
    "splits": pl.List(pl.Struct({"date": pl.Date, "ratio": pl.Float64})),
}


def changed_rows(before: Snapshot, bars: Bars) -> pl.DataFrame:
    """The bars of one symbol that were not there, or were others."""
    old = before[bars.symbol] if bars.symbol in before else Bars.empty(bars.symbol)
    at = np.searchsorted(old.date, bars.date)
    known = at < len(old)
    known[known] = old.date[at[known]] == bars.date[known]
    same = known.copy()
    for name in _NUMBERS:
        same[known] &= getattr(old, name)[at[known]] == getattr(bars, name)[known]
    rows = np.flatnonzero(~same)
    if not len(rows):  # the splits alone are others: they need a row to stand on
        rows = np.array([len(bars) - 1])
    columns: dict[str, Any] = {name: getattr(bars, name)[rows] for name in ("date", *_NUMBERS)}
    columns["derived"] = columns["close"] * _ratios(old, at[rows]) == columns["adj_close"]
    splits = [{"date": split.date.item(), "ratio": split.ratio} for split in bars.splits]
    marked = [None] * (len(rows) - 1) + [splits if bars.splits != old.splits else None]
    return pl.DataFrame({"symbol": [bars.symbol] * len(rows), **columns, "splits": marked}, schema=_SCHEMA)


def write_rows(path: Path, frames: Sequence[pl.DataFrame]) -> None:
    """Returns once they are on the disk."""
    with path.open("xb") as file:
        pl.concat(frames).write_parquet(file, compression="zstd", statistics=False)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_rows(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def merge_rows(paths: Sequence[Path], into: Path) -> None:
    """One file for many: of each symbol's day the last row, of each symbol the last splits."""
    frames = pl.concat([read_rows(path) for path in paths])
    rows = frames.unique(["symbol", "date"], keep="last", maintain_order=True).drop("splits")
    splits = frames.filter(pl.col("splits").is_not_null()).unique("symbol", keep="last", maintain_order=True)
    last = rows.with_row_index().group_by("symbol").agg(pl.col("index").max())
    marks = last.join(splits.select("symbol", "splits"), on="symbol", how="inner").drop("symbol")
    merged = rows.with_row_index().join(marks, on="index", how="left", maintain_order="left").drop("index")
    write_rows(into, [merged.select(*_SCHEMA)])


def apply_rows(bars: Mapping[str, Bars], rows: pl.DataFrame, *, anew: bool) -> Iterator[Bars]:
    """The bars of each symbol in the rows, with the rows over them; `anew` derives again what was derived, over other bars."""
    for frame in rows.sort("date", maintain_order=True).partition_by("symbol", maintain_order=True):
        symbol = str(frame["symbol"][0])
        yield _over(bars.get(symbol, Bars.empty(symbol)), frame, anew=anew)


def _over(old: Bars, rows: pl.DataFrame, *, anew: bool) -> Bars:
    dates = rows["date"].to_numpy().astype("datetime64[D]")
    new = {name: rows[name].to_numpy() for name in _NUMBERS}
    if anew:
        derived = new["close"] * _ratios(old, np.searchsorted(old.date, dates))
        new["adj_close"] = np.where(rows["derived"].to_numpy(), derived, new["adj_close"])
    kept = ~np.isin(old.date, dates)
    merged = np.concatenate([old.date[kept], dates])
    order = np.argsort(merged, kind="stable")
    columns = {name: np.concatenate([getattr(old, name)[kept], new[name]])[order] for name in _NUMBERS}
    marked = rows["splits"].drop_nulls()
    splits = tuple(Split(np.datetime64(one["date"], "D"), one["ratio"]) for one in marked[-1]) if len(marked) else old.splits
    if anew:  # another source may know of others
        known = {split.date: split for split in (*old.splits, *splits)}
        splits = tuple(known[day] for day in sorted(known))
    return Bars(old.symbol, merged[order], splits=splits, **columns)


def _ratios(old: Bars, at: npt.NDArray[np.int64]) -> Floats:
    """adj_close/close where rows stand or would be put, as `Bars.with_bar` takes it: their own, or the nearest; 1 without any."""
    if not len(old):
        return np.ones(len(at))
    near = np.minimum(at, len(old) - 1)
    ratios: Floats = old.adj_close[near] / old.close[near]
    return ratios
