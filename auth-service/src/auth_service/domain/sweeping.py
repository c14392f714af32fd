"""What is old goes: sessions and keys that have long ended, with all that came of them, and what is counted no more.

A family of refresh tokens stays whole for as long as its session lives, spent tokens too: a stolen one that comes back must be
known, for it ends the session. Once that has ended none of them is good for anything, and nothing is left to be ended.

The trail keeps telling of a key that is gone, so it tells of its going as well; the trail itself is never swept.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from auth_service.domain.auditing import Auditor
from auth_service.domain.model import Origin
from auth_service.domain.ports import Database
from auth_service.domain.throttling import FORGET_AFTER, KNOWN_FOR
from shared.clock import Clock
from shared.ids import IdFactory
from shared.logging import get_logger

__all__ = ["Retention", "Sweeper"]

BATCH = 500
_OURSELVES = Origin(actor="svc:sweep")
_log = get_logger("sweeping")

Remove = Callable[[int], Awaitable[int]]
"""So many at most; how many it were."""


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long what has ended is kept: `sessions`, and tokens that came by mail, for clocks that differ and for whoever looks
    into a theft; `keys`, for users who look for one that stopped working."""

    sessions: timedelta
    keys: timedelta


class Sweeper:
    """Any number of them may run. `swept` counts what is gone."""

    def __init__(
        self,
        database: Database,
        retention: Retention,
        swept: Callable[[str, int], None],
        *,
        clock: Clock,
        new_id: IdFactory,
    ) -> None:
        self._database = database
        self._retention = retention
        self._swept = swept
        self._clock = clock
        self._auditor = Auditor(new_id)

    async def sweep(self) -> None:
        """Unavailable; what is gone by then is."""
        now, rows = self._clock(), self._database.sweeping
        sessions, keys = now - self._retention.sessions, now - self._retention.keys
        works: dict[str, Remove] = {
            "refresh_token": lambda limit: rows.refresh_tokens(sessions, limit),
            "session": lambda limit: rows.sessions(sessions, limit),
            "one_time_token": lambda limit: rows.one_time_tokens(sessions, limit),
            "network": lambda limit: rows.networks(now - KNOWN_FOR, limit),
            "guess": lambda limit: rows.guesses(now - FORGET_AFTER, limit),
            "key": lambda limit: self._remove_keys(keys, limit),
        }
        gone: Counter[str] = Counter()
        # a batch of each in turn: sessions go with their tokens, else the search for the oldest would pass all that are empty
        while await self._round(works, gone) >= BATCH:
            continue
        if gone:
            _log.info("swept", **gone)

    async def _round(self, works: Mapping[str, Remove], gone: Counter[str]) -> int:
        """How many rows the fullest batch had; what others have in hand is left to the next sweep."""
        most = 0
        for what, remove in works.items():
            if count := await remove(BATCH):
                self._swept(what, count)
                gone[what] += count
                most = max(most, count)
        return most

    async def _remove_keys(self, before: datetime, limit: int) -> int:
        count = 0
        for owner, ids in (await self._database.sweeping.ended_keys(before, limit)).items():
            async with self._database.transaction(owner.tenant_id) as tx:
                user = await tx.users.lock(owner.user_id)
                if user is None:  # who has just moved to another tenant, and the keys along
                    continue
                gone = await tx.api_keys.remove(user.id, ids, before)
                now = self._clock()
                await tx.audit.record(*(self._auditor.event("key", "swept", user, _OURSELVES, now, before=key) for key in gone))
            count += len(gone)
        return count
