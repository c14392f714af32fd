"""Changed rows in Parquet: what imports and live bars have put over the source, one file for each commit.

A row with a date is a bar; the one without, of each key at most one, holds all that is known beside the bars: splits and listing.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.adapters.segments import sync_folder
from data_service.domain.bars import NUMBERS, VALUES, Bars, Listing, Split
from data_service.domain.ports import Snapshot

__all__ = ["apply_rows", "changed_rows", "merge_rows", "read_rows", "write_rows"]

_ROUNDING = 1e-15
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.String,
    "date": pl.Datetime("us"),  # UTC; of a day, its midnight
    **dict.fromkeys(NUMBERS, pl.Float64),
    # whether adj_close followed from the close by the ratio of its neighbour, and so has to from another source's as well
    "derived": pl.Boolean,
    # whether its adjustment alone is another: the bar itself stays that of the source
    "adjusts": pl.Boolean,
    "splits": pl.List(pl.Struct({"date": pl.Date, "ratio": pl.Float64})),
    "exchange": pl.String,
    "currency": pl.String,
}


def changed_rows(before: Snapshot, changed: Sequence[Bars]) -> pl.DataFrame:
    """The bars that were not there, or were others, and what is beside those of a key where that is another."""
    parts: list[dict[str, npt.NDArray[Any]]] = []
    beside: list[dict[str, Any]] = []
    for number, bars in enumerate(changed):
        old = before[bars.key] if bars.key in before else Bars.empty(bars.key)
        part = _changed(old, bars)
        parts.append({**part, "of": np.full(len(part["date"]), number)})
        if (bars.splits, bars.listing) != (old.splits, old.listing):
            beside.append(_beside(bars))
    # one frame for all: 60,000 months would take half a millisecond each
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    keys = pl.Series("key", [bars.key for bars in changed])
    rows = pl.DataFrame({"key": keys.gather(columns.pop("of")), **columns})
    return pl.concat([pl.DataFrame(beside, schema=_SCHEMA), rows], how="diagonal_relaxed").select(*_SCHEMA)


def _changed(old: Bars, bars: Bars) -> dict[str, npt.NDArray[Any]]:
    at = np.searchsorted(old.date, bars.date)
    known = at < len(old)
    known[known] = old.date[at[known]] == bars.date[known]
    same = known.copy()
    for name in VALUES:
        same[known] &= getattr(old, name)[at[known]] == getattr(bars, name)[known]
    whole = same.copy()
    whole[known] &= old.adj_close[at[known]] == bars.adj_close[known]
    rows = np.flatnonzero(~whole)
    columns: dict[str, npt.NDArray[Any]] = {name: getattr(bars, name)[rows] for name in NUMBERS}
    columns["date"] = bars.date[rows].astype("datetime64[us]")
    # as `Bars.with_bar` takes it: the close by the ratio, or what is there already
    followed = columns["close"] * old.ratios_on(bars.date[rows])
    columns["derived"] = np.abs(followed / columns["adj_close"] - 1) < _ROUNDING
    columns["adjusts"] = same[rows]
    return columns


def _beside(bars: Bars) -> dict[str, Any]:
    splits = [{"date": split.date.item(), "ratio": split.ratio} for split in bars.splits]
    return {"key": bars.key, "splits": splits, "exchange": bars.listing.exchange, "currency": bars.listing.currency}


def write_rows(path: Path, rows: pl.DataFrame) -> None:
    """Returns once they are on the disk."""
    with path.open("xb") as file:
        rows.write_parquet(file, compression="zstd", statistics=False)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_rows(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def merge_rows(paths: Sequence[Path], into: Path) -> None:
    """One file for many: of each key's date, and of what is beside its bars, the last row."""
    frames = pl.concat([read_rows(path) for path in paths])
    frames = frames.with_columns(adjusts=pl.col("adjusts").all().over("key", "date"))
    write_rows(into, frames.unique(["key", "date"], keep="last", maintain_order=True))


def apply_rows(bars: Mapping[str, Bars], rows: pl.DataFrame, *, anew: bool) -> Iterator[Bars]:
    """The bars of each key in the rows, with the rows over them; `anew` derives again what was derived, over other bars."""
    for frame in rows.sort("date", maintain_order=True).partition_by("key", maintain_order=True):
        key = str(frame["key"][0])
        yield _over(bars.get(key, Bars.empty(key)), frame, anew=anew)


def _over(old: Bars, rows: pl.DataFrame, *, anew: bool) -> Bars:
    beside, rows = rows.filter(pl.col("date").is_null()), rows.drop_nulls("date")
    rows = _own_bars(old, rows)
    dates = rows["date"].to_numpy().astype(Bars.unit(old.key))
    new = {name: rows[name].to_numpy() for name in NUMBERS}
    if anew:
        derived = new["close"] * old.ratios_on(dates)
        new["adj_close"] = np.where(rows["derived"].to_numpy(), derived, new["adj_close"])
    kept = ~np.isin(old.date, dates)
    merged = np.concatenate([old.date[kept], dates])
    order = np.argsort(merged, kind="stable")
    columns = {name: np.concatenate([getattr(old, name)[kept], new[name]])[order] for name in NUMBERS}
    splits, listing = _read_beside(beside) if len(beside) else (old.splits, old.listing)
    if anew:  # another source may know of others
        known = {split.date: split for split in (*old.splits, *splits)}
        splits = tuple(known[day] for day in sorted(known))
        listing = Listing(listing.exchange or old.listing.exchange, listing.currency or old.listing.currency)
    return Bars(old.key, merged[order], splits=splits, listing=listing, **columns)


def _own_bars(old: Bars, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that adjust alone, with the bars there are now, and with adj_close in the same proportion to another close; without
    those whose bar has gone."""
    if not rows["adjusts"].any():
        return rows
    dates = rows["date"].to_numpy().astype(Bars.unit(old.key))
    at = np.minimum(np.searchsorted(old.date, dates), max(len(old) - 1, 0))
    there = old.date[at] == dates if len(old) else np.zeros(len(dates), dtype=bool)
    adjusts = rows["adjusts"].to_numpy() & there
    values = {name: rows[name].to_numpy().copy() for name in NUMBERS}
    moved = adjusts.copy()
    moved[adjusts] = old.close[at[adjusts]] != values["close"][adjusts]
    values["adj_close"][moved] *= old.close[at[moved]] / values["close"][moved]
    for name in VALUES:
        values[name][adjusts] = getattr(old, name)[at[adjusts]]
    return rows.with_columns(**{name: pl.Series(column) for name, column in values.items()}).filter(
        pl.Series(there) | ~pl.col("adjusts")
    )


def _read_beside(row: pl.DataFrame) -> tuple[tuple[Split, ...], Listing]:
    splits, exchange, currency = row.select("splits", "exchange", "currency").row(0)
    return tuple(Split(np.datetime64(one["date"], "D"), one["ratio"]) for one in splits), Listing(exchange, currency)
