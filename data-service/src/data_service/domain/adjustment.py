"""Prices as they compare over time. The newest bar equals the traded price in every mode."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from data_service.domain.bars import PRICES, VALUES, Bars, Dates, Floats, Split

__all__ = ["Adjustment", "adjust"]

Adjustment = Literal["split_dividend", "split", "none"]


def adjust(
    bars: Bars,
    mode: Adjustment,
    days: Dates,
    head: Bars,
    newest: np.datetime64 | None = None,
    columns: Collection[str] = VALUES,
) -> Bars:
    """`split_dividend` scales prices by (adj_close/close)(t) over that of the newest bar, `split` by the splits still to come.

    `days` are those of the bars, `newest` that of the newest bar there is, where these are not all. `head`, the symbol's daily
    bars, knows ratios and splits; for daily bars it is they themselves, and without any the splits alone count. The quotient to
    the newest bar is what makes it equal the traded price: a source's adj_close may contain events after its last bar. Volume is
    scaled inversely, for splits only: a dividend changes no share count. Columns that are not asked for stay as traded."""
    if mode == "none" or not len(bars):
        return bars
    last = days[-1] if newest is None else newest
    by_splits = mode == "split" or not len(head)
    factor = _split_factor(days, head.splits, last) if by_splits else _ratio(days, head, last)
    changed: dict[str, Any] = {name: getattr(bars, name) * factor for name in PRICES if name in columns}
    if "volume" in columns:
        changed["volume"] = bars.volume / (factor if by_splits else _split_factor(days, head.splits, last))
    return replace(bars, **changed)


def _ratio(days: Dates, head: Bars, newest: np.datetime64) -> Floats:
    ratio: Floats = head.adj_close / head.close
    # of a day without a daily bar, the one before holds
    base = ratio[max(int(np.searchsorted(head.date, newest, "right")) - 1, 0)]
    if days is not head.date:
        ratio = ratio[np.maximum(np.searchsorted(head.date, days, "right") - 1, 0)]
    relative: Floats = ratio / base
    return relative


def _split_factor(days: Dates, splits: Sequence[Split], newest: np.datetime64) -> Floats:
    factor = np.ones(len(days))
    for split in splits:
        if split.date <= newest:
            factor[days < split.date] /= split.ratio
    return factor
