"""Bars that are kept in a dict: a snapshot and a writer for tests of the rules, without a disk."""

from collections.abc import Callable, Iterable, Sequence

from data_service.adapters.calendars import calendar_of
from data_service.domain.bars import Bars
from data_service.domain.ports import IndexedSnapshot
from data_service.domain.symbols import SymbolBars


class MemorySnapshot(dict[str, Bars]):
    """By key."""

    @property
    def symbols(self) -> Sequence[str]:
        return sorted({bars.symbol for bars in self.values()})

    def of(self, symbol: str) -> SymbolBars:
        if symbol not in self.symbols:
            raise KeyError(symbol)
        return SymbolBars.of(self._parts(symbol), calendar_of)

    def after(self, changed: Sequence[Bars]) -> SymbolBars:
        return SymbolBars.of([*self._parts(changed[0].symbol), *changed], calendar_of)

    def _parts(self, symbol: str) -> list[Bars]:
        return [bars for bars in self.values() if bars.symbol == symbol]


def snapshot_of(bars: Iterable[Bars]) -> MemorySnapshot:
    return MemorySnapshot({one.key: one for one in bars})


class MemoryWriter:
    """`commits` counts those that changed something."""

    def __init__(self, bars: Iterable[Bars] = ()) -> None:
        self.bars = snapshot_of(bars)
        self.commits = 0

    def snapshot(self) -> IndexedSnapshot:
        return self.bars

    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> Sequence[Bars]:
        changed = change(self.bars)
        self.bars = snapshot_of([*self.bars.values(), *changed])
        self.commits += bool(changed)
        return changed

    def versions(self) -> dict[str, str]:
        return {key: bars.data_version for key, bars in self.bars.items()}
