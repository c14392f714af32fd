"""What happens to a bar that arrives: checked, made durable, made visible, announced, in that order."""

from typing import Protocol

from data_service.domain.bars import Bar, Bars
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars
from data_service.domain.store import BarStore

__all__ = ["Announcer", "Keeper", "LiveBars"]


class Keeper(Protocol):
    def keep(self, symbol: str, bar: Bar) -> None:
        """Returns once the bar is durable."""
        ...


class Announcer(Protocol):
    async def announce(self, bars: Bars) -> None:
        """Returns once the symbol's new data version is published; raises when it is not."""
        ...


class LiveBars:
    """A bar that is announced twice is harmless, one that is not announced is stale caches: what fails is tried again."""

    def __init__(self, store: BarStore, keeper: Keeper, announcer: Announcer) -> None:
        self._store = store
        self._keeper = keeper
        self._announcer = announcer

    async def take(self, symbol: str, bar: Bar) -> None:
        """Raises `UnfitBars`. A symbol nobody stored yet begins here; a bar of a known date corrects it."""
        if faults := faults_of(Bars.empty(symbol).with_bar(bar)):
            raise UnfitBars(faults)
        before = self._store.stored(symbol) if symbol in self._store else Bars.empty(symbol)
        after = before.with_bar(bar)
        if after is not before:
            self._keeper.keep(symbol, bar)
            self._store.replace(after)
        await self._announcer.announce(after)
