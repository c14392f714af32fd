"""All bars, in memory. Reads take what is there; a change replaces a symbol's bars whole, so a reader never sees half of one."""

from collections.abc import Callable
from functools import lru_cache

from data_service.domain.adjustment import Adjustment, adjust
from data_service.domain.bars import Bars
from data_service.domain.errors import UnknownSymbol
from data_service.domain.intervals import Interval, resample
from data_service.domain.ports import Snapshot

__all__ = ["BarStore"]

_VIEWS = 256


class BarStore:
    """`snapshot` gives the newest bars; asking it costs a few microseconds."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        # keyed by the bars themselves, which are immutable: a change makes other bars, and the old views fall out
        self._view = lru_cache(_VIEWS)(_view)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._snapshot()

    def __len__(self) -> int:
        return len(self._snapshot())

    def symbols(self) -> list[str]:
        """In order."""
        return list(self._snapshot())

    def stored(self, symbol: str) -> Bars:
        """The daily bars as traded; `UnknownSymbol`."""
        try:
            return self._snapshot()[symbol]
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def view(self, stored: Bars, interval: Interval, adjustment: Adjustment) -> Bars:
        """Adjusted, then resampled; computed once for each version of a symbol's bars."""
        return self._view(stored, interval, adjustment)


def _view(bars: Bars, interval: Interval, adjustment: Adjustment) -> Bars:
    return resample(adjust(bars, adjustment), interval)
