"""Reading the audit trail: in pages, whole, and its newest signed head. What is not sealed yet is not shown."""

from collections.abc import AsyncIterator

from auth_service.domain.chain import Head, Sealed
from auth_service.domain.errors import NoHeadYet
from auth_service.domain.ports import AuditFilter, TrailReader

__all__ = ["Trail"]

_BATCH = 500


class Trail:
    def __init__(self, rows: TrailReader) -> None:
        self._rows = rows

    async def page(self, asked: AuditFilter, *, before: int | None, limit: int) -> list[Sealed]:
        """Newest first."""
        return await self._rows.newest(asked, before=before, limit=limit)

    async def batches(self, asked: AuditFilter, *, after: int) -> AsyncIterator[list[Sealed]]:
        """All of it, oldest first: a statement for each batch, so that a slow reader holds nothing but one of them."""
        while True:
            batch = await self._rows.oldest(asked, after=after, limit=_BATCH)
            yield batch
            if len(batch) < _BATCH:
                return
            after = batch[-1].link.seq

    async def head(self) -> Head:
        """NoHeadYet until the first event was sealed and signed for."""
        head = await self._rows.head()
        if head is None:
            raise NoHeadYet
        return head
