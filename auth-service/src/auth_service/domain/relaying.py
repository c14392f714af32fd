"""The relay: audit events leave the outbox as facts, in order, at least once.

The event was written in the transaction of the change it tells of, so none is lost and none is told of a change that was rolled
back. Requests never wait for it: while nobody takes the facts, they stay where they are.
"""

import asyncio
from contextlib import suppress

from auth_service.domain.model import AuditEvent
from auth_service.domain.ports import Database, FactPublisher
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["Relay"]

BATCH = 100
_LONGEST_S = 30.0
_log = get_logger("relay")


class Relay:
    """`written` is set after each commit of this process that wrote events; `poll_s` finds those of processes that died."""

    def __init__(self, database: Database, publisher: FactPublisher, written: asyncio.Event, *, poll_s: float = 1.0) -> None:
        self._database = database
        self._publisher = publisher
        self._written = written
        self._poll_s = poll_s
        self._failure: Exception | None = None

    async def check(self) -> None:
        """For health: Unavailable when the last round failed, for then facts are waiting."""
        if self._failure is not None:
            raise Unavailable(f"facts are waiting ({type(self._failure).__name__})")

    async def run(self) -> None:
        wait_s = self._poll_s
        while True:
            self._written.clear()
            try:
                taken = await self.relay_batch()
            except Unavailable as error:
                self._failure = error
                _log.warning("facts are waiting", why=error.detail)
                await asyncio.sleep(self._poll_s)
                continue
            except Exception as error:  # noqa: BLE001 - a relay that ended would tell of no revocation any more
                self._failure = error
                _log.exception("facts are not relayed")
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_S)
                continue
            self._failure, wait_s = None, self._poll_s
            if taken < BATCH:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._written.wait()

    async def relay_batch(self) -> int:
        """How many were published; raises what the publisher failed with, after marking those that went before."""
        failure: Exception | None = None
        published: list[AuditEvent] = []
        async with self._database.outbox() as outbox:
            for event in await outbox.take(BATCH):
                try:
                    await self._publisher.publish(event)
                except Exception as error:  # noqa: BLE001 - raised below; unmarked, those that went before would go every round
                    failure = error
                    break
                published.append(event)
            if published:
                await outbox.mark_published(published)
        if failure is not None:
            raise failure
        return len(published)
