"""What the rules need of Postgres, Redis and NATS."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from ratelimit_service.domain.model import Change, Noun, OverrideState, PlanVersion, Source, TenantOverride
from shared.limits.plans import PlanBook

__all__ = ["Books", "ChangeFilter", "Counters", "Database", "Gateways", "PlanFile", "Rows", "StoreState"]


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    noun: Noun | None = None
    subject: str | None = None
    actor: str | None = None


class Rows(Protocol):
    """One transaction. Whatever changes a plan or an override takes the `lock` first: their order is the order of `seq`."""

    async def lock(self) -> None: ...

    async def add_change(self, change: Change) -> Change:
        """With its `seq`."""
        ...

    async def changes(self, asked: ChangeFilter, *, before: int | None, limit: int) -> Sequence[Change]: ...

    async def take_back(self, day: date, units: Mapping[str, int]) -> None:
        """So many units, by subject, are no more counted as spent on that day; of what nothing is counted yet, nothing."""
        ...

    async def revision(self) -> str | None:
        """Of the newest change of a plan or an override; None before the first."""
        ...

    async def newest_version(self) -> PlanVersion | None: ...

    async def newest_of(self, source: Source) -> PlanVersion | None: ...

    async def version(self, number: int) -> PlanVersion | None: ...

    async def versions(self, *, before: int | None, limit: int) -> Sequence[PlanVersion]:
        """Newest first."""
        ...

    async def add_version(self, version: PlanVersion) -> None:
        """Its change is written already."""
        ...

    async def override(self, tenant_id: UUID) -> TenantOverride | None: ...

    async def overrides(
        self, state: OverrideState | None, now: datetime, *, after: UUID | None, limit: int
    ) -> Sequence[TenantOverride]:
        """By the tenants' ids."""
        ...

    async def count_overrides(self) -> int: ...

    async def put_override(self, override: TenantOverride) -> None: ...

    async def remove_override(self, tenant_id: UUID) -> None: ...

    async def overrides_ended(self, before: datetime) -> Sequence[TenantOverride]: ...

    async def forget(self, before: datetime) -> int:
        """Removes versions and changes older than that, but for what is in force and what the file's next change is compared
        with; how many changes."""
        ...


class Database(Protocol):
    def begin(self) -> AbstractAsyncContextManager[Rows]:
        """Commits at the end, rolls back when the body raises; Unavailable when Postgres is away."""
        ...


class PlanFile(Protocol):
    @property
    def source(self) -> Source:
        """`file` where it is the operator's own, else `shipped`."""
        ...

    def text(self) -> str:
        """OSError when it cannot be read, ValueError when it is no text."""
        ...


@dataclass(frozen=True, slots=True)
class StoreState:
    """The revision of the book that enforcers can read, and of the one they were last told of; None for none."""

    written: str | None
    told: str | None


class Books(Protocol):
    """The book where enforcers read it. Each raises Unavailable when Redis, or for `tell` NATS, is away."""

    async def state(self) -> StoreState: ...

    async def write(self, book: PlanBook, revision: str, *, over: str | None) -> bool:
        """False, and nothing, when what is there is not the revision `over` any more.

        Who reads the state first and Postgres then, and writes over that state, never puts an older book over a newer one.
        """
        ...

    async def tell(self, revision: str) -> None:
        """Returns once enforcers will hear of it."""
        ...


class Counters(Protocol):
    """Each raises Unavailable when Redis is away."""

    async def used(self, day: date, subjects: Sequence[str]) -> Mapping[str, int]:
        """By subject, of each counter of that day that is there."""
        ...

    async def clear(self, subjects: Sequence[str]) -> None:
        """So that nothing is used of any quota; what gateways hold of it on lease is not given back."""
        ...


class Gateways(Protocol):
    async def forget(self, subjects: Sequence[str]) -> None:
        """Returns once they will hear that what they know of these is nothing any more. Unavailable when NATS is away."""
        ...
