"""Prices as they compare over time. The newest bar equals the traded price in every mode."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from data_service.domain.bars import PRICES, VALUES, Bars, Dates, Floats, Split

__all__ = ["Adjustment", "adjust"]

Adjustment = Literal["split_dividend", "split", "none"]


def adjust(bars: Bars, mode: Adjustment, days: Dates, head: Bars, columns: Collection[str] = VALUES) -> Bars:
    """`split_dividend` scales prices by (adj_close/close)(t) over that of the newest bar, `split` by the splits still to come.

    `days` are those of the bars. `head`, the symbol's daily bars, knows ratios and splits; for daily bars it is they themselves.
    The quotient to the newest bar is what makes it equal the traded price: a source's adj_close may contain events after its last
    bar. Volume is scaled inversely, for splits only: a dividend changes no share count. Columns that are not asked for stay as
    traded.
    """
    if mode == "none" or not len(bars):
        return bars
    changed: dict[str, Any] = {}
    if prices := [name for name in PRICES if name in columns]:
        factor = _split_factor(days, head.splits) if mode == "split" else _ratio(days, head)
        changed = {name: getattr(bars, name) * factor for name in prices}
    if "volume" in columns and head.splits:
        changed["volume"] = bars.volume / _split_factor(days, head.splits)
    return replace(bars, **changed)


def _ratio(days: Dates, head: Bars) -> Floats:
    if not len(head):
        return np.ones(len(days))
    ratio: Floats = head.adj_close / head.close
    if days is not head.date:  # of a day without a daily bar, the one before holds
        ratio = ratio[np.maximum(np.searchsorted(head.date, days, "right") - 1, 0)]
    relative: Floats = ratio / ratio[-1]
    return relative


def _split_factor(days: Dates, splits: Sequence[Split]) -> Floats:
    factor = np.ones(len(days))
    for split in splits:
        if split.date <= days[-1]:
            factor[days < split.date] /= split.ratio
    return factor
