"""When each key was last used, as far as the gateways ask: noted in memory, written in batches.

Resolving a key is what is asked most; it stays one statement that only reads.
"""

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from uuid import UUID

from auth_service.domain.ports import Database

__all__ = ["KeyUsage"]

MOST_WAITING = 100_000
BATCH = 5_000


class KeyUsage:
    """`dropped` counts a use for which there was no room: the database was away too long."""

    def __init__(self, database: Database, *, dropped: Callable[[], None]) -> None:
        self._database = database
        self._dropped = dropped
        self._waiting: dict[UUID, datetime] = {}

    def note(self, key_id: UUID, at: datetime) -> None:
        if key_id in self._waiting or len(self._waiting) < MOST_WAITING:
            self._waiting[key_id] = at
        else:
            self._dropped()

    async def flush(self) -> None:
        """Unavailable: what was not written waits."""
        waiting = iter(list(self._waiting.items()))
        while uses := dict(islice(waiting, BATCH)):
            await self._database.key_uses.save(uses)
            for key_id, at in uses.items():
                # one that came meanwhile is for the next time
                if self._waiting[key_id] == at:
                    del self._waiting[key_id]
