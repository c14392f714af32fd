"""What is old goes: overrides that have ended, and history beyond its retention.

In Redis nothing is left over: a burst's counter ends when it is whole again, a day's two days later, a slot with its lease.
"""

from dataclasses import dataclass
from datetime import timedelta

from ratelimit_service.domain.model import OURSELVES
from ratelimit_service.domain.overriding import Overriding
from ratelimit_service.domain.ports import Database
from shared.clock import Clock
from shared.logging import get_logger

__all__ = ["Sweeper"]

_ENDED_FOR = timedelta(days=7)
_log = get_logger("sweeping")


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Any number of them may run: what one has removed the next does not find."""

    database: Database
    overriding: Overriding
    history: timedelta
    clock: Clock

    async def sweep(self) -> None:
        now = self.clock()
        archived = await self.overriding.archive(now - _ENDED_FOR, OURSELVES)
        async with self.database.begin() as rows:
            await rows.lock()
            forgotten = await rows.forget(now - self.history)
        if archived or forgotten:
            _log.info("swept", overrides=archived, changes=forgotten)
