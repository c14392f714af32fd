"""What a bar must be before it is stored: a bad one poisons every recursive indicator after it."""

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import PRICES, Bars
from data_service.domain.intervals import SECONDS

__all__ = ["faults_of"]


def faults_of(bars: Bars) -> list[str]:
    """Every fault, as `symbol date: column: reason`; none for bars fit to be stored."""
    faults: list[str] = []

    def note(bad: npt.NDArray[np.bool_], column: str, reason: str) -> None:
        faults.extend(f"{bars.symbol} {bars.date[at]}: {column}: {reason}" for at in np.flatnonzero(bad))

    for name in (*PRICES, "adj_close"):
        column = getattr(bars, name)
        note(~np.isfinite(column), name, "not finite")
        note(column <= 0, name, "not positive")
    note(~np.isfinite(bars.volume), "volume", "not finite")
    note(bars.volume < 0, "volume", "negative")
    note(bars.high < np.maximum(bars.open, bars.close), "high", "below open or close")
    note(bars.low > np.minimum(bars.open, bars.close), "low", "above open or close")
    again = np.zeros(len(bars), dtype=bool)
    again[1:] = bars.date[1:] <= bars.date[:-1]
    note(again, "date", "twice")
    if bars.interval in SECONDS:
        # sessions open on a whole minute, wherever they are
        note(bars.date.astype(np.int64) % SECONDS["1min"] != 0, "date", "not on a whole minute")
    return faults
