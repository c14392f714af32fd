"""Prices as they compare over time. The newest bar equals the traded price in every mode."""

from dataclasses import replace
from typing import Literal

import numpy as np

from data_service.domain.bars import PRICES, Bars, Floats

__all__ = ["Adjustment", "adjust"]

Adjustment = Literal["split_dividend", "split", "none"]


def adjust(bars: Bars, mode: Adjustment) -> Bars:
    """`split_dividend` scales prices by (adj_close/close)(t) over that of the newest bar, `split` by the splits still to come.

    The quotient to the newest bar is what makes it equal the traded price: a source's adj_close may contain events after its
    last bar. Volume is scaled inversely, for splits only: a dividend changes no share count.
    """
    if mode == "none" or not len(bars):
        return bars
    split = _split_factor(bars)
    factor = split if mode == "split" else _ratio(bars)
    prices = {name: getattr(bars, name) * factor for name in PRICES}
    return replace(bars, volume=bars.volume / split, **prices)


def _ratio(bars: Bars) -> Floats:
    ratio: Floats = bars.adj_close / bars.close
    relative: Floats = ratio / ratio[-1]
    return relative


def _split_factor(bars: Bars) -> Floats:
    factor = np.ones(len(bars))
    for split in bars.splits:
        if split.date <= bars.date[-1]:
            factor[bars.date < split.date] /= split.ratio
    return factor
