"""Rotating the signing keys, and how every process learns of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from auth_service.domain.auditing import Auditor
from auth_service.domain.model import Origin
from auth_service.domain.ports import Database
from auth_service.domain.signing import SigningKey, SigningRing
from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import IdFactory
from shared.logging import get_logger

__all__ = ["RingReader", "Rotation"]

READ_AFTER_S = 10.0
RETRY_AFTER_S = 1.0
_OPERATOR = Origin(actor="svc:keys")
_log = get_logger("signing-keys")


class Rotation:
    def __init__(self, database: Database, *, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)

    async def rotate(self, *, revoke: bool = False) -> SigningKey:
        """Returns the new key. RotationUnderWay while the last one waits to sign, which `revoke` does not mind."""
        async with self._database.ring() as tx:
            ring = SigningRing(await tx.keys.lock())
            change = ring.revoked if revoke else ring.rotated
            now = self._clock()
            added, *changed = change(self._new_id(), now)
            await tx.keys.put(added, *changed)
            # without the new key's name: after a leak of the master that is all an attacker lacks
            await tx.audit.record(self._auditor.event("signing-key", "rotated", None, _OPERATOR, now, revoked=revoke))
        return added

    async def ring(self) -> SigningRing:
        """With the keys that have ended."""
        async with self._database.ring() as tx:
            return SigningRing(await tx.keys.all())


class RingReader:
    """Hands the ring to `use`: at the start, every ten seconds, and at once when told that it changed."""

    def __init__(self, database: Database, use: Callable[[SigningRing], None], clock: Clock) -> None:
        self._database = database
        self._use = use
        self._clock = clock
        self._changed = asyncio.Event()
        self._current = False

    def changed(self) -> None:
        self._changed.set()

    async def check(self) -> None:
        """For health: Unavailable when the last look failed; a process goes on with the ring it has."""
        if not self._current:
            raise Unavailable("the signing keys were not read again")

    async def read(self) -> bool:
        """False without the database."""
        now = self._clock()
        try:
            async with self._database.ring() as tx:
                keys = await tx.keys.published(now)
        except Unavailable as error:
            self._current = False
            _log.warning("signing keys not read", why=error.detail)
            return False
        self._use(SigningRing(keys))
        self._current = True
        return True

    async def run(self) -> None:
        while True:
            self._changed.clear()
            wait_s = READ_AFTER_S if await self.read() else RETRY_AFTER_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
