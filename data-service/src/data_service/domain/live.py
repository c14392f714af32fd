"""What happens to a bar that arrives: checked, made durable and visible, announced, in that order."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from data_service.domain.bars import Bar, Bars
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars
from data_service.domain.ports import BarWriter, Snapshot

__all__ = ["Announcer", "LiveBars"]

MOST_REMEMBERED = 100_000


class Announcer(Protocol):
    async def announce(self, symbol: str) -> None:
        """Returns once the symbol's new data version is published; raises when it is not."""
        ...


class LiveBars:
    """A bar that is announced twice is harmless, one that is not announced is stale caches: what fails is tried again."""

    def __init__(self, writer: BarWriter, announcer: Announcer) -> None:
        self._writer = writer
        self._announcer = announcer
        self._sequences: OrderedDict[tuple[str, str, np.datetime64], int] = OrderedDict()
        self._waiting: list[tuple[str, Bar]] = []
        self._next: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def take(self, feed: str, symbol: str, bar: Bar, sequence: int | None = None) -> bool:
        """A symbol nobody stored yet begins here; a bar of a known date corrects it. Raises `UnfitBars`.

        A feed that numbers its bars may send them again and out of order: False for one that a later one of its date has
        overtaken. Bars of different dates do not overtake each other.
        """
        if faults := faults_of(Bars.empty(symbol).with_bar(bar)):
            raise UnfitBars(faults)
        if sequence is not None and sequence < self._sequences.get((feed, symbol, bar.date), 0):
            return False

        self._waiting.append((symbol, bar))
        if self._next is None:
            self._next = asyncio.create_task(self._commit_waiting())
        await asyncio.shield(self._next)
        if sequence is not None:
            self._remember((feed, symbol, bar.date), sequence)
        return True

    async def _commit_waiting(self) -> None:
        """One commit for all that came while the one before was under way, in the order in which they came."""
        async with self._turn:
            taken, self._waiting, self._next = self._waiting, [], None

            def change(now: Snapshot) -> Sequence[Bars]:
                changed: dict[str, Bars] = {}
                for symbol, bar in taken:
                    before = changed[symbol] if symbol in changed else now[symbol] if symbol in now else Bars.empty(symbol)
                    changed[symbol] = before.with_bar(bar)
                return list(changed.values())

            await asyncio.to_thread(self._writer.commit, change)
        for symbol in {symbol for symbol, _ in taken}:
            await self._announcer.announce(symbol)

    def _remember(self, of: tuple[str, str, np.datetime64], sequence: int) -> None:
        self._sequences[of] = sequence
        self._sequences.move_to_end(of)
        while len(self._sequences) > MOST_REMEMBERED:
            self._sequences.popitem(last=False)
