"""The relay: audit events become links of the chain, and leave as facts, in order, at least once.

The event was written in the transaction of the change it tells of, so none is lost and none is told of a change that was rolled
back. Requests never wait for it: while nobody takes the facts, they stay where they are.

Two transactions. The first seals: it gives each new row its sequence number and its hash. The second publishes what is sealed and
then moves the cursor. Killed between the two, what is sealed is published later, under the same number; killed between an
acknowledgement and the cursor, the same fact goes again, and its reader drops it by its id. As many relays may run as there are
processes: two locks let one seal and one publish at a time, and sealing goes on while NATS is away.
"""

import asyncio
from datetime import timedelta

from auth_service.domain.chain import Link, sealed
from auth_service.domain.heads import HeadKeeper
from auth_service.domain.ports import Database, FactPublisher
from shared.clock import Clock
from shared.logging import get_logger

__all__ = ["Relay"]

BATCH = 100
_log = get_logger("relay")


class Relay:
    """`written` is set whenever there is something to relay: after each commit of this process that wrote events, and by
    `publish_again`."""

    def __init__(
        self,
        database: Database,
        publisher: FactPublisher,
        heads: HeadKeeper,
        written: asyncio.Event,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._heads = heads
        self._written = written
        self._clock = clock

    async def relay(self) -> None:
        """All that waits; raises what a round failed with."""
        while await self.round() == BATCH:
            pass

    async def round(self) -> int:
        """A batch of each; how many rows the longer one had. A head is signed whether or not facts can be published."""
        count, last = await self.seal()
        try:
            return max(count, await self.publish())
        finally:
            await self._heads.keep(last)

    async def seal(self) -> tuple[int, Link]:
        """How many were sealed, and the newest link."""
        async with self._database.outbox() as outbox:
            await outbox.lock_sealing()
            last = await outbox.last()
            rows = sealed(last, await outbox.unsealed(BATCH))
            if rows:
                await outbox.seal(rows)
        return len(rows), rows[-1].link if rows else last

    async def publish(self) -> int:
        """How many were published; raises what the publisher failed with, after moving the cursor behind those before."""
        failure: Exception | None = None
        published = 0
        async with self._database.outbox() as outbox:
            # waiting rather than giving up: what this process has just sealed is then published now, not at the next look
            await outbox.lock_publishing()
            cursor = await outbox.published()
            for row in await outbox.sealed(after=cursor, limit=BATCH):
                try:
                    await self._publisher.publish(row)
                except Exception as error:  # noqa: BLE001 - raised below; unmarked, those that went before would go every round
                    failure = error
                    break
                cursor, published = row.link.seq, published + 1
            if published:
                await outbox.mark_published(cursor)
        if failure is not None:
            raise failure
        return published

    async def publish_again(self, age: timedelta) -> None:
        """What the stream held is lost: everything of that age, all that it would hold, goes again."""
        async with self._database.outbox() as outbox:
            await outbox.lock_publishing()
            cursor = min(await outbox.published(), await outbox.before(self._clock() - age))
            await outbox.mark_published(cursor)
        _log.warning("facts are published again", after=cursor)
        self._written.set()
