"""The trail of changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit_service.domain.model import Change
from ratelimit_service.domain.ports import ChangeFilter, Database

__all__ = ["Changes"]


@dataclass(frozen=True, slots=True)
class Changes:
    database: Database

    async def page(self, asked: ChangeFilter, *, before: int | None, limit: int) -> Sequence[Change]:
        """Newest first; Unavailable while Postgres is away."""
        async with self.database.begin() as rows:
            return await rows.changes(asked, before=before, limit=limit)
