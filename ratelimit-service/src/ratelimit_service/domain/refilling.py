"""Counters of a store that was emptied are raised again, to what Postgres knows was spent today.

The store has a mark, which gateways put there (`limits:epoch`): another one, or none, says that it lost what it had. Gateways
raise the counters to what they have heard of them; here it is to what was counted. The greater of both wins, so what is admitted
twice is at most what was spent and neither heard of nor counted: of a caller's quota, and of a tenant's for all its members.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date
from typing import Protocol

from ratelimit_service.domain.control import InForce
from ratelimit_service.domain.subjects import counts_day, is_together
from shared.clock import Clock
from shared.logging import get_logger

__all__ = ["Refill"]

_AT_A_TIME = 500
_log = get_logger("usage")


class Units(Protocol):
    async def of(self, day: date) -> Mapping[str, tuple[int, str]]:
        """Units and tier by subject; Unavailable."""
        ...


class Mark(Protocol):
    async def epoch(self) -> str:
        """Empty where the store has none; Unavailable."""
        ...


class Raising(Protocol):
    async def raise_to(self, subject: str, day: date, used: int) -> int:
        """At least so many units of the day count as used; how many were added. Unavailable."""
        ...


class Refill:
    """`look` again and again; the first time raises, too: what happened before is not known here."""

    def __init__(self, units: Units, mark: Mark, raising: Raising, plans: InForce, clock: Clock) -> None:
        self._units = units
        self._plans = plans
        self._mark = mark
        self._raising = raising
        self._clock = clock
        self._filled: str | None = None

    async def look(self) -> int:
        """The units that were added. Unavailable: then nothing is done with, and the next look begins again."""
        epoch = await self._mark.epoch()
        if epoch == self._filled:
            return 0
        now = self._clock()
        today, book = now.astimezone(UTC).date(), self._plans.book
        counted = await self._units.of(today)
        # of the tenants there are, few have a quota of all their members together
        subjects = [
            (subject, units)
            for subject, (units, tier) in counted.items()
            if not is_together(subject) or counts_day(subject, tier, book, now)
        ]
        added = 0
        for start in range(0, len(subjects), _AT_A_TIME):
            some = subjects[start : start + _AT_A_TIME]
            added += sum(await asyncio.gather(*(self._raising.raise_to(subject, today, units) for subject, units in some)))
        # the one that was there before: a store that was emptied meanwhile is another again
        self._filled = epoch
        if added:
            _log.warning("counters were raised to what was counted", subjects=len(subjects), units=added)
        return added
