"""Stored bars, played again as if they happened now: `kalpi.market.feed.v1.replay`.

Bars come in the order of their dates, across symbols; those of one day in the order of the symbols. Each is published and
acknowledged before the next, so that the order on the stream is this one. The pace is kept against the clock, not by equal
sleeps: a publish that takes long is made up for.
"""

import datetime as dt
import heapq
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

import numpy as np

from data_service.domain.bars import Bar, Bars
from data_service.domain.intervals import StoredInterval
from data_service.providers.backoff import Backoff, Random
from shared.errors import Unavailable
from shared.ids import IdFactory
from shared.subjects import feed_subject

__all__ = ["SUBJECT", "Pace", "Played", "Publisher", "bars_in_order", "facts", "replay"]

SUBJECT = feed_subject("replay")
AsyncSleep = Callable[[float], Awaitable[None]]
Monotonic = Callable[[], float]


class Publisher(Protocol):
    """`shared.events.EventBus` is one."""

    async def publish(self, subject: str, data: dict[str, Any], *, fact_id: UUID | None = None) -> object:
        """Raises `Unavailable`; the same id again is no second fact."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """`bars_per_s`: final bars, with the forming ones of each spread evenly before it; None: as fast as they are acknowledged."""

    bars_per_s: float | None = None
    forming: int = 0

    def due_s(self, facts: int) -> float:
        """Seconds after the start at which the fact of this number, from 0, is due."""
        return 0.0 if self.bars_per_s is None else facts / (self.bars_per_s * (self.forming + 1))


@dataclass(slots=True)
class Played:
    """How far it has come, also when it was cancelled."""

    bars: int = 0
    facts: int = 0
    date: dt.date | None = None


def bars_in_order(stored: Iterable[Bars], start: dt.date) -> Iterator[tuple[str, Bar]]:
    """Final bars from `start` on. One bar a symbol is held at a time."""
    first = np.datetime64(start, "D")
    yield from heapq.merge(*(_from(bars, first) for bars in stored), key=lambda pair: (pair[1].date, pair[0]))


def _from(bars: Bars, first: np.datetime64) -> Iterator[tuple[str, Bar]]:
    for at in range(int(np.searchsorted(bars.date, first)), len(bars)):
        values = (float(getattr(bars, name)[at]) for name in ("open", "high", "low", "close", "volume"))
        yield bars.symbol, Bar(bars.date[at], *values)


def facts(
    bars: Iterable[tuple[str, Bar]],
    *,
    interval: StoredInterval = "1day",
    forming: int = 0,
    with_sequence: bool = True,
    first_sequence: int = 0,
) -> Iterator[dict[str, Any]]:
    """The data of the facts of each bar: `forming` states of it with `final: false`, then itself.

    `sequence` grows by one with every fact. A consumer keeps the highest it has seen, so a later replay must begin higher.
    """
    sequence = first_sequence
    for symbol, bar in bars:
        for state, final in _states(bar, forming):
            data: dict[str, Any] = {"symbol": symbol, "interval": interval, "bar": state, "final": final}
            if with_sequence:
                data["sequence"] = sequence
            sequence += 1
            yield data


def _states(bar: Bar, forming: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """A straight way from open to close; high, low and volume widen with it and never go back. Each is a sound bar."""
    date = f"{bar.date}Z" if np.datetime_data(bar.date.dtype)[0] == "s" else str(bar.date)
    for step in range(1, forming + 1):
        part = step / (forming + 1)
        close = bar.open + (bar.close - bar.open) * part
        high, low = max(bar.open, close), min(bar.open, close)
        state = {
            "open": bar.open,
            "high": min(high + (bar.high - max(bar.open, bar.close)) * part, bar.high),
            "low": max(low - (min(bar.open, bar.close) - bar.low) * part, bar.low),
            "close": close,
            "volume": bar.volume * part,
        }
        yield {"date": date, **state}, False
    final = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")}
    yield {"date": date, **final}, True


async def replay(
    stored: Sequence[Bars],
    start: dt.date,
    publisher: Publisher,
    *,
    pace: Pace,
    sleep: AsyncSleep,
    monotonic: Monotonic,
    random: Random,
    new_id: IdFactory,
    interval: StoredInterval = "1day",
    most: int | None = None,
    with_sequence: bool = True,
    first_sequence: int = 0,
    backoff: Backoff | None = None,
    played: Played | None = None,
) -> Played:
    """Ends after the newest bar, or `most` bars. Cancel it at any time: `played`, when given, says what was acknowledged.

    Raises `Unavailable` when NATS, or the stream that data-service declares, stays away.
    """
    played = played if played is not None else Played()
    backoff = backoff or Backoff()
    bars = islice(bars_in_order(stored, start), most)
    begun = monotonic()
    states = facts(bars, interval=interval, forming=pace.forming, with_sequence=with_sequence, first_sequence=first_sequence)
    for data in states:
        if (early := begun + pace.due_s(played.facts) - monotonic()) > 0:
            await sleep(early)
        await _publish(publisher, data, new_id(), backoff, sleep, random)
        played.facts += 1
        played.bars += data["final"]
        played.date = dt.date.fromisoformat(data["bar"]["date"][:10])
    return played


async def _publish(
    publisher: Publisher, data: dict[str, Any], fact_id: UUID, backoff: Backoff, sleep: AsyncSleep, random: Random
) -> None:
    attempt = 0
    while True:
        try:
            await publisher.publish(SUBJECT, data, fact_id=fact_id)
        except Unavailable:
            wait = backoff.wait_s(attempt, random)
            if wait is None:
                raise
        else:
            return
        await sleep(wait)
        attempt += 1
