"""Coarser bars from daily ones. A bar is labelled with the last trading day in it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import Bars, Dates
from shared.errors import InvalidInput

__all__ = ["SERVED", "Interval", "resample"]

Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
_MONDAY_BASED = 3  # 1970-01-01 was a Thursday

_PERIODS: dict[str, Callable[[Dates], npt.NDArray[np.int64]]] = {
    "1week": lambda dates: (dates.astype(np.int64) + _MONDAY_BASED) // 7,
    "1month": lambda dates: dates.astype("datetime64[M]").astype(np.int64),
}
SERVED: tuple[Interval, ...] = ("1day", "1week", "1month")


def resample(bars: Bars, interval: Interval) -> Bars:
    """First open, highest high, lowest low, last close, total volume; InvalidInput for what is finer than what is stored."""
    if interval == "1day":
        return bars
    if interval not in _PERIODS:
        raise InvalidInput.field("query", "interval", msg=f"{bars.symbol} is stored as daily bars; served: {', '.join(SERVED)}")
    if not len(bars):
        return bars
    periods = _PERIODS[interval](bars.date)
    starts = np.flatnonzero(np.diff(periods, prepend=periods[0] - 1))
    ends = np.append(starts[1:], len(bars)) - 1
    return replace(
        bars,
        date=bars.date[ends],
        open=bars.open[starts],
        high=np.maximum.reduceat(bars.high, starts),
        low=np.minimum.reduceat(bars.low, starts),
        close=bars.close[ends],
        volume=np.add.reduceat(bars.volume, starts),
        adj_close=bars.adj_close[ends],
    )
