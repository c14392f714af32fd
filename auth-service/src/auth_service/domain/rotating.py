"""Rotating the signing keys, and how every process learns of it."""

from collections.abc import Callable

from auth_service.domain.auditing import Auditor
from auth_service.domain.model import Origin
from auth_service.domain.ports import Database
from auth_service.domain.signing import SigningKey, SigningRing
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["RingReader", "Rotation"]

_OPERATOR = Origin(actor="svc:keys")


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
    """Hands the ring to `use`; a process goes on with the one it has where it cannot be read again."""

    def __init__(self, database: Database, use: Callable[[SigningRing], None], clock: Clock) -> None:
        self._database = database
        self._use = use
        self._clock = clock

    async def read(self) -> None:
        """Unavailable."""
        now = self._clock()
        async with self._database.ring() as tx:
            keys = await tx.keys.published(now)
        self._use(SigningRing(keys))
