"""What happens to a bar that arrives: checked, made durable and visible, announced, in that order."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_service.domain.bars import Bar, Bars, key_of
from data_service.domain.checks import faults_of
from data_service.domain.errors import UnfitBars
from data_service.domain.intervals import StoredInterval
from data_service.domain.ports import BarWriter, Snapshot

__all__ = ["Announcer", "LiveBars"]

MOST_REMEMBERED = 100_000
_Of = tuple[str, str, str, np.datetime64]
"""Which bar of which feed."""


@dataclass
class _Arrived:
    feed: str
    symbol: str
    interval: StoredInterval
    bar: Bar
    sequence: int | None
    overtaken: bool = False

    @property
    def of(self) -> _Of:
        return self.feed, self.symbol, self.interval, self.bar.date

    @property
    def key(self) -> str:
        return key_of(self.symbol, self.interval, self.bar.date)


class Announcer(Protocol):
    async def announce(self, symbol: str) -> None:
        """Returns once the symbol's new data version is published; raises when it is not."""
        ...


class LiveBars:
    """A bar that is announced twice is harmless, one that is not announced is stale caches: what fails is tried again."""

    def __init__(self, writer: BarWriter, announcer: Announcer) -> None:
        self._writer = writer
        self._announcer = announcer
        self._sequences: OrderedDict[_Of, int] = OrderedDict()
        self._waiting: list[_Arrived] = []
        self._next: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def take(
        self, feed: str, symbol: str, bar: Bar, sequence: int | None = None, interval: StoredInterval = "1day"
    ) -> bool:
        """A symbol nobody stored yet begins here; a bar of a known date corrects it. Raises `UnfitBars`.

        A feed that numbers its bars may send them again and out of order: False for one that a later one of its date has
        overtaken. Bars of different dates do not overtake each other.
        """
        arrived = _Arrived(feed, symbol, interval, bar, sequence)
        if faults := faults_of(Bars.empty(arrived.key).with_bar(bar)):
            raise UnfitBars(faults)
        self._waiting.append(arrived)
        if self._next is None:
            self._next = asyncio.create_task(self._commit_waiting())
        await asyncio.shield(self._next)
        return not arrived.overtaken

    async def _commit_waiting(self) -> None:
        """One commit for all that came while the one before was under way, in the order in which they came."""
        async with self._turn:
            taken, self._waiting, self._next = self._waiting, [], None
            highest = self._judge(taken)
            fit = [arrived for arrived in taken if not arrived.overtaken]

            def change(now: Snapshot) -> Sequence[Bars]:
                changed: dict[str, Bars] = {}
                for arrived in fit:
                    key = arrived.key
                    before = changed[key] if key in changed else now[key] if key in now else Bars.empty(key)
                    changed[key] = before.with_bar(arrived.bar)
                return list(changed.values())

            await asyncio.to_thread(self._writer.commit, change)
            for of, sequence in highest.items():
                self._remember(of, sequence)
        for symbol in {arrived.symbol for arrived in fit}:
            await self._announcer.announce(symbol)

    def _judge(self, taken: Sequence["_Arrived"]) -> dict[_Of, int]:
        """Marks what was overtaken, before or within these; the highest sequence of each bar."""
        highest: dict[_Of, int] = {}
        for arrived in taken:
            if arrived.sequence is not None:
                so_far = highest.get(arrived.of, self._sequences.get(arrived.of, 0))
                arrived.overtaken = arrived.sequence < so_far
                highest[arrived.of] = max(arrived.sequence, so_far)
        return highest

    def _remember(self, of: _Of, sequence: int) -> None:
        self._sequences[of] = sequence
        self._sequences.move_to_end(of)
        while len(self._sequences) > MOST_REMEMBERED:
            self._sequences.popitem(last=False)
