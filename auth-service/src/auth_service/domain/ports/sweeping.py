"""What has ended, and goes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.model import Owner

__all__ = ["Sweeping"]


class Sweeping(Protocol):
    """Rows of all tenants that ended before a moment, the oldest first. Each call is a statement of its own, which removes
    `limit` at most, says how many, and waits for nobody: a row that another has in hand is left for the next time."""

    async def refresh_tokens(self, before: datetime, limit: int) -> int:
        """Of sessions that ended before then, and no others: of one that is alive the oldest tells of a theft."""

    async def sessions(self, before: datetime, limit: int) -> int:
        """Of the `limit` oldest those whose tokens are gone."""

    async def one_time_tokens(self, before: datetime, limit: int) -> int:
        """By when they expire, used or not: what was sent is counted until then."""

    async def networks(self, before: datetime, limit: int) -> int: ...

    async def guesses(self, before: datetime, limit: int) -> int: ...

    async def ended_keys(self, before: datetime, limit: int) -> Mapping[Owner, Sequence[UUID]]:
        """Nothing is removed: a key goes in a transaction of its tenant, with the event that tells of it."""
