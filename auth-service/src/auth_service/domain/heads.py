"""Heads of the audit chain: signed now and then, and exported, so that a trail cut or rewritten later can be told."""

from datetime import datetime, timedelta

from auth_service.domain.chain import Head, Link
from auth_service.domain.ports import Database, HeadExport, HeadSigner
from shared.clock import Clock

__all__ = ["HeadKeeper"]


class HeadKeeper:
    """A head is due once there are `every` events since the last, or fewer and `after` has passed."""

    def __init__(
        self, database: Database, signer: HeadSigner, export: HeadExport, clock: Clock, *, every: int, after: timedelta
    ) -> None:
        self._database = database
        self._signer = signer
        self._export = export
        self._clock = clock
        self._every = every
        self._after = after
        self._newest: Head | None = None

    async def keep(self, last: Link) -> None:
        """Signs a head where one is due; `last` is a link that was committed."""
        now = self._clock()
        if not self._is_due(last, now):
            return
        async with self._database.outbox() as outbox:
            await outbox.lock_sealing()
            # another process may have signed one since we looked
            self._newest = await outbox.head()
            if self._is_due(last, now):
                head = self._signer.sign(last, now)
                await outbox.add_head(head)
                # before the commit: a head that is known here and nowhere else would never be exported
                await self._export.export(head)
                self._newest = head

    def _is_due(self, last: Link, now: datetime) -> bool:
        seq, signed_at = (self._newest.link.seq, self._newest.signed_at) if self._newest is not None else (0, None)
        fresh = last.seq - seq
        return fresh >= self._every or (fresh > 0 and (signed_at is None or now - signed_at >= self._after))
