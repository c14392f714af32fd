"""The trail: writing it, reading it, and how it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.chain import Head, Link, Recorded, Sealed
from auth_service.domain.model import AuditEvent

__all__ = ["AuditFilter", "AuditTrail", "FactPublisher", "HeadExport", "HeadSigner", "Outbox", "TrailReader"]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events of the trail: those that have all of what is given. `until` is not among them."""

    user_id: UUID | None = None
    tenant_id: UUID | None = None
    actor: str | None = None
    noun: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    request_id: str | None = None


class AuditTrail(Protocol):
    async def record(self, *events: AuditEvent) -> None: ...


class TrailReader(Protocol):
    """What is sealed of the trail, of all tenants. Each is one statement of its own."""

    async def newest(self, asked: AuditFilter, *, before: int | None, limit: int) -> list[Sealed]:
        """Newest first; what comes before that sequence number."""

    async def oldest(self, asked: AuditFilter, *, after: int, limit: int) -> list[Sealed]:
        """Oldest first; what comes after that sequence number."""

    async def head(self) -> Head | None:
        """The newest that was signed."""


class Outbox(Protocol):
    """What the relay does with the trail. Each of the locks is one relay's at a time, until its transaction ends."""

    async def lock_sealing(self) -> None: ...

    async def lock_publishing(self) -> None: ...

    async def last(self) -> Link:
        """The newest that is sealed."""

    async def unsealed(self, limit: int) -> list[Recorded]:
        """The oldest events that no link leads to yet, in the order in which they were written."""

    async def seal(self, rows: Sequence[Sealed]) -> None: ...

    async def published(self) -> int:
        """The sequence number up to which everything was published."""

    async def sealed(self, *, after: int, limit: int) -> list[Sealed]: ...

    async def mark_published(self, seq: int) -> None: ...

    async def before(self, moment: datetime) -> int:
        """The sequence number behind which everything sealed since then stands."""

    async def head(self) -> Head | None:
        """The newest that was signed."""

    async def add_head(self, head: Head) -> None: ...


class FactPublisher(Protocol):
    async def publish(self, row: Sealed) -> None:
        """Returns once it is acknowledged, else raises Unavailable; the same event twice is harmless."""


class HeadSigner(Protocol):
    def sign(self, link: Link, at: datetime) -> Head: ...


class HeadExport(Protocol):
    async def export(self, head: Head) -> None:
        """Returns once it is out of the database's reach, else raises Unavailable."""
