"""Fit rows put over the stored bars: a row of a known date takes its place, all others stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from data_service.domain.actions import found_splits, told_splits, with_steps
from data_service.domain.bars import NUMBERS, UNLISTED, Bars, Dates, Floats, Listing
from data_service.domain.importing import ACTIONS, RATIOS, Faults, Rows, UnfitUpload
from data_service.domain.ports import BarWriter, IndexedSnapshot, Snapshot
from data_service.domain.symbols import SymbolBars

__all__ = ["Change", "Report", "merge", "store"]

_NO_RATIO = "no adj_close in proportion to it follows from the stored bars, or from the dividend"
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
    columns = {name: frame[name].fill_null(np.nan).to_numpy() for name in (*NUMBERS, *ACTIONS)}
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
        faults.mark_rows(rows.files, unfit_rows, "close", _NO_RATIO)
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
    the nearest stored bar, and by the split and the dividend of the day where those are told."""
    daily = old.key == old.symbol
    at = np.searchsorted(old.date, dates)
    given = ~np.isnan(new["adj_close"])
    known = at < len(old)
    known[known] = old.date[at[known]] == dates[known]
    follows = new["close"] * old.ratios_on(dates)
    same = known.copy()
    same[known] = old.close[at[known]] == new["close"][known]
    follows[same] = old.adj_close[at[same]]  # the product may be another by its last bit
    new = {**new, "adj_close": np.where(given, new["adj_close"], follows)}

    other = np.zeros(len(dates), dtype=bool)
    for name in NUMBERS:
        other[known] |= getattr(old, name)[at[known]] != new[name][known]
    kept = np.ones(len(old), dtype=bool)
    kept[at[known]] = False

    order = np.argsort(np.concatenate([old.date[kept], dates]), kind="stable")
    together = np.concatenate([old.date[kept], dates])[order]
    columns = {name: np.concatenate([getattr(old, name)[kept], new[name]])[order] for name in NUMBERS}
    bars = Bars(old.key, together, splits=old.splits, listing=old.listing, **columns)
    unfit = np.zeros(len(bars), dtype=bool)
    if daily:
        nothing = np.full(int(kept.sum()), np.nan)
        told = {name: np.concatenate([nothing, new[name]])[order] for name in ACTIONS}
        bars, unfit = _adjusted(bars, told, np.concatenate([nothing == 0, given])[order])
    return bars, int((~known).sum()), int(other.sum()), unfit[np.searchsorted(together, dates)]


def _adjusted(bars: Bars, told: Mapping[str, Floats], given: _Flags) -> tuple[Bars, _Flags]:
    """The bars with the splits that follow, and with the adj_close where actions are `told` and adj_close is not `given`; and
    which bars get no usable one."""
    split, dividend = told["split"], told["dividend"]
    adj_close, unfit = with_steps(bars, split, dividend, ~given)
    ratio = adj_close / bars.close
    splits = told_splits(found_splits(bars.splits, bars.date, ratio, given), bars.date, split)
    return replace(bars, adj_close=adj_close, splits=splits), unfit | ~((ratio >= RATIOS[0]) & (ratio <= RATIOS[1]))
