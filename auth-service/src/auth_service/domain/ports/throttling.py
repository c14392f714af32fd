"""What attempts are counted in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from auth_service.domain.throttling import Bucket, Charge

__all__ = ["Throttle", "Unlocking"]


class Throttle(Protocol):
    """Of names that may be nobody's: digests that belong to no tenant. Each call is a transaction of its own."""

    async def charge(self, buckets: Sequence[Bucket], now: datetime) -> Charge:
        """All of them one more, or none while one that refuses has to wait; two at once are two, in whichever processes."""

    async def refund(self, buckets: Sequence[Bucket], charged_at: datetime) -> None:
        """What was charged then was a success."""


class Unlocking(Protocol):
    async def clear(self, account: str) -> int:
        """Forgets every failure of this account; how many buckets had some."""
