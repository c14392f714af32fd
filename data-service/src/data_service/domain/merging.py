"""Fit rows put over the stored bars: a row of a known date takes its place, all others stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.domain.bars import PRICES, Bars, Dates, Floats, Split
from data_service.domain.importing import RATIOS, Fault, Faults, Rows, UnfitUpload
from data_service.domain.ports import BarWriter, Snapshot

__all__ = ["Change", "Report", "merge", "store"]

_NUMBERS = (*PRICES, "volume", "adj_close")
_SMALLEST_SPLIT = 1.5
_SPLIT_TOLERANCE = 0.05  # a dividend of the same day and rounded prices move a jump a little

_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """One symbol's bars after the import; of its rows `added` were not there before, `corrected` were others."""

    bars: Bars
    added: int
    corrected: int


@dataclass(frozen=True, slots=True)
class Report:
    """`symbols` and `rows` are what was brought; `changed` what it changes, or with `dry_run` would."""

    symbols: int
    rows: int
    changed: tuple[Change, ...]
    dry_run: bool


def store(rows: Rows, writer: BarWriter, *, dry_run: bool = False) -> Report:
    """All rows or none. Raises what `merge` and `BarWriter.commit` raise; it blocks as they do."""
    changed: tuple[Change, ...] = ()

    def change(stored: Snapshot) -> Sequence[Bars]:
        nonlocal changed
        changed = tuple(one for one in merge(rows, stored) if _differs(one.bars, stored))
        return [] if dry_run else [one.bars for one in changed]

    writer.commit(change)
    return Report(rows.frame["symbol"].n_unique(), len(rows), changed, dry_run)


def _differs(bars: Bars, stored: Snapshot) -> bool:
    return bars.symbol not in stored or stored[bars.symbol].data_version != bars.data_version


def merge(rows: Rows, stored: Snapshot) -> list[Change]:
    """The rows over the stored bars, for each symbol they have; `UnfitUpload` where no usable adj_close follows."""
    frame = rows.frame
    columns = {name: frame[name].fill_null(np.nan).to_numpy() for name in _NUMBERS}
    dates = frame["date"].to_numpy().astype("datetime64[D]")
    changes: list[Change] = []
    faults = Faults()
    first = 0
    for length, symbol in zip(*frame["symbol"].rle().struct.unnest(), strict=True) if len(rows) else ():
        part = slice(first, first + length)
        old = stored[symbol] if symbol in stored else Bars.empty(symbol)
        change, unfit = _over(old, dates[part], {name: column[part] for name, column in columns.items()})
        changes.append(change)
        for file, row in frame[part].select("file", "row").filter(pl.Series(unfit)).iter_rows():
            faults.add(Fault(rows.files[file], row, "close", "out of proportion to the adjustment of the stored bars"))
        first += length
    if faults.count:
        raise UnfitUpload(faults)
    return changes


def _over(old: Bars, dates: Dates, new: dict[str, Floats]) -> tuple[Change, _Flags]:
    """The change, and which rows get no usable adj_close: not given, it follows by the ratio of the nearest stored bar."""
    at = np.searchsorted(old.date, dates)
    given = ~np.isnan(new["adj_close"])
    near = np.minimum(at, len(old) - 1)
    ratio = old.adj_close[near] / old.close[near] if len(old) else np.ones(len(dates))
    new = {**new, "adj_close": np.where(given, new["adj_close"], new["close"] * ratio)}
    unfit = ~((new["adj_close"] >= new["close"] * RATIOS[0]) & (new["adj_close"] <= new["close"] * RATIOS[1]))

    known = at < len(old)
    known[known] = old.date[at[known]] == dates[known]
    other = np.zeros(len(dates), dtype=bool)
    for name in _NUMBERS:
        other[known] |= getattr(old, name)[at[known]] != new[name][known]
    kept = np.ones(len(old), dtype=bool)
    kept[at[known]] = False

    merged = np.concatenate([old.date[kept], dates])
    order = np.argsort(merged, kind="stable")
    columns = {name: np.concatenate([getattr(old, name)[kept], new[name]])[order] for name in _NUMBERS}
    told = np.concatenate([np.zeros(int(kept.sum()), dtype=bool), given])[order]
    splits = _splits(old.splits, merged[order], columns, told)
    bars = Bars(old.symbol, merged[order], splits=splits, **columns)
    return Change(bars, int((~known).sum()), int(other.sum())), unfit


def _splits(known: tuple[Split, ...], dates: Dates, columns: dict[str, Floats], told: _Flags) -> tuple[Split, ...]:
    """Splits are where adj_close/close jumps by a whole ratio; a crash moves close alone.

    Only days on which adj_close was told, or on the day before, are judged. A known split that its jump bears out stays as it is,
    also one of 3 for 2; one that the jump denies goes.
    """
    ratio = columns["adj_close"] / columns["close"]
    jump = np.append(1.0, ratio[1:] / ratio[:-1])
    judged = told.copy()
    judged[1:] |= told[:-1]
    judged[:1] = False
    whole = np.round(jump)
    found = judged & (jump >= _SMALLEST_SPLIT) & (np.abs(jump / np.maximum(whole, 1) - 1) <= _SPLIT_TOLERANCE)
    splits = []
    for split in known:
        at = int(np.searchsorted(dates, split.date))
        if at < len(dates) and judged[at]:
            if abs(jump[at] / split.ratio - 1) > _SPLIT_TOLERANCE:
                continue
            found[at] = False
        splits.append(split)
    splits += [Split(dates[at], float(whole[at])) for at in np.flatnonzero(found)]
    return tuple(sorted(splits, key=lambda split: split.date))
