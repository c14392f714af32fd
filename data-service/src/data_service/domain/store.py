"""All bars, in memory. Reads take what is there; a change replaces a symbol's bars whole, so a reader never sees half of one."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from data_service.domain.adjustment import Adjustment, adjust
from data_service.domain.bars import Bars
from data_service.domain.errors import UnknownSymbol
from data_service.domain.intervals import Interval, resample

__all__ = ["BarStore"]

_VIEWS = 4096


class BarStore:
    def __init__(self, bars: Iterable[Bars]) -> None:
        self._by_symbol = {each.symbol: each for each in bars}
        # keyed by the bars themselves, which are immutable: a change makes other bars, and the old views fall out
        self._view = lru_cache(_VIEWS)(_view)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._by_symbol

    def __iter__(self) -> Iterator[Bars]:
        return iter(self._by_symbol.values())

    def __len__(self) -> int:
        return len(self._by_symbol)

    def symbols(self) -> list[str]:
        return sorted(self._by_symbol)

    def stored(self, symbol: str) -> Bars:
        """The daily bars as traded; `UnknownSymbol`."""
        try:
            return self._by_symbol[symbol]
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def bars(self, symbol: str, interval: Interval, adjustment: Adjustment) -> Bars:
        """Adjusted, then resampled, computed once for each version of a symbol's bars."""
        return self._view(self.stored(symbol), interval, adjustment)

    def replace(self, bars: Bars) -> None:
        self._by_symbol[bars.symbol] = bars


def _view(bars: Bars, interval: Interval, adjustment: Adjustment) -> Bars:
    return resample(adjust(bars, adjustment), interval)
