"""Fit rows put over the stored bars: a row of a known date takes its place, all others stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.domain.bars import NUMBERS, UNLISTED, Bars, Dates, Floats, Listing, Split
from data_service.domain.importing import RATIOS, Faults, Rows, UnfitUpload
from data_service.domain.ports import BarWriter, IndexedSnapshot, Snapshot
from data_service.domain.symbols import SymbolBars

__all__ = ["Change", "Report", "merge", "store"]

_SMALLEST_SPLIT = 1.5
_SPLIT_TOLERANCE = 0.05  # a dividend of the same day and rounded prices move a jump a little

_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """All of one symbol after the import; of its rows `added` were not there before, `corrected` were others."""

    after: SymbolBars
    added: int
    corrected: int


@dataclass(frozen=True, slots=True)
class Report:
    """`symbols` and `rows` are what was brought; `changed` what it changes, or with `dry_run` would."""

    symbols: int
    rows: int
    changed: tuple[Change, ...]
    dry_run: bool


@dataclass(slots=True)
class _Merged:
    """The bars of one symbol that the rows come to stand among."""

    bars: list[Bars]
    added: int = 0
    corrected: int = 0


def store(rows: Rows, writer: BarWriter, *, dry_run: bool = False) -> Report:
    """All rows or none. Raises what `merge` and `BarWriter.commit` raise; it blocks as they do."""
    changed: tuple[Change, ...] = ()

    def change(stored: IndexedSnapshot) -> Sequence[Bars]:
        nonlocal changed
        merged = {symbol: one for symbol, one in merge(rows, stored).items() if any(_differs(bars, stored) for bars in one.bars)}
        changed = tuple(Change(stored.after(one.bars), one.added, one.corrected) for one in merged.values())
        return [] if dry_run else [bars for one in merged.values() for bars in one.bars]

    writer.commit(change)
    return Report(rows.frame["symbol"].n_unique(), len(rows), changed, dry_run)


def _differs(bars: Bars, stored: Snapshot) -> bool:
    return bars.key not in stored or stored[bars.key].data_version != bars.data_version


def merge(rows: Rows, stored: Snapshot) -> dict[str, _Merged]:
    """The rows over the stored bars, by symbol; `UnfitUpload` where no usable adj_close follows."""
    interval, listing = rows.terms.interval, rows.terms.listing
    frame = rows.frame.with_columns(key=_keys(interval))
    columns = {name: frame[name].fill_null(np.nan).to_numpy() for name in NUMBERS}
    dates = frame["date"].to_numpy()
    merged: dict[str, _Merged] = {}
    faults = Faults()
    first = 0
    for length, key in zip(*frame["key"].rle().struct.unnest(), strict=True) if len(rows) else ():
        part = slice(first, first + length)
        old = stored[key] if key in stored else Bars.empty(key)
        new, added, corrected, unfit = _over(old, dates[part].astype(Bars.unit(key)), {n: c[part] for n, c in columns.items()})
        one = merged.setdefault(new.symbol, _Merged([]))
        one.bars.append(new)
        one.added, one.corrected = one.added + added, one.corrected + corrected
        unfit_rows = frame[part].filter(pl.Series(unfit))
        faults.mark_rows(rows.files, unfit_rows, "close", "out of proportion to the adjustment of the stored bars")
        first += length
    if faults.count:
        raise UnfitUpload(faults)
    if listing != UNLISTED:
        for symbol, one in merged.items():
            _list(one, symbol, listing, stored)
    return merged


def _keys(interval: str) -> pl.Expr:
    return (
        pl.col("symbol")
        if interval == "1day"
        else pl.format(f"{{}}:{interval}:{{}}", "symbol", pl.col("date").dt.strftime("%Y-%m"))
    )


def _list(merged: _Merged, symbol: str, listing: Listing, stored: Snapshot) -> None:
    """The listing stands with the daily bars."""
    before = stored[symbol] if symbol in stored else Bars.empty(symbol)
    head = merged.bars.pop(0) if merged.bars[0].key == symbol else before
    known = Listing(listing.exchange or head.listing.exchange, listing.currency or head.listing.currency)
    merged.bars.insert(0, replace(head, listing=known))


def _over(old: Bars, dates: Dates, new: dict[str, Floats]) -> tuple[Bars, int, int, _Flags]:
    """The bars, how many were added and corrected, and which rows get no usable adj_close: not given, it follows by the ratio of
    the nearest stored bar."""
    daily = old.key == old.symbol
    at = np.searchsorted(old.date, dates)
    given = ~np.isnan(new["adj_close"])
    near = np.minimum(at, len(old) - 1)
    ratio = old.adj_close[near] / old.close[near] if daily and len(old) else np.ones(len(dates))
    new = {**new, "adj_close": np.where(given, new["adj_close"], new["close"] * ratio)}
    unfit = ~((new["adj_close"] >= new["close"] * RATIOS[0]) & (new["adj_close"] <= new["close"] * RATIOS[1]))

    known = at < len(old)
    known[known] = old.date[at[known]] == dates[known]
    other = np.zeros(len(dates), dtype=bool)
    for name in NUMBERS:
        other[known] |= getattr(old, name)[at[known]] != new[name][known]
    kept = np.ones(len(old), dtype=bool)
    kept[at[known]] = False

    together = np.concatenate([old.date[kept], dates])
    order = np.argsort(together, kind="stable")
    columns = {name: np.concatenate([getattr(old, name)[kept], new[name]])[order] for name in NUMBERS}
    told = np.concatenate([np.zeros(int(kept.sum()), dtype=bool), given])[order]
    splits = _splits(old.splits, together[order], columns, told) if daily else ()
    bars = Bars(old.key, together[order], splits=splits, listing=old.listing, **columns)
    return bars, int((~known).sum()), int(other.sum()), unfit


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
