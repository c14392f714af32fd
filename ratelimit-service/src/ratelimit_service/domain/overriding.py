"""What one tenant has instead of what its tier says, from a moment and until another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ratelimit_service.domain.errors import NoOverride, TooManyOverrides
from ratelimit_service.domain.model import Document, Origin, OverrideState, TenantOverride
from ratelimit_service.domain.ports import Database
from ratelimit_service.domain.versions import Recorder
from shared.errors import InvalidInput
from shared.limits.plans import MOST_OVERRIDES, Override

__all__ = ["Overriding", "document_of"]


@dataclass(frozen=True, slots=True)
class Overriding:
    """A tenant has one override or none; another one replaces it. Which tenants there are is auth-service's to say.

    `changed` is set after each commit. Unavailable while Postgres is away.
    """

    database: Database
    recorder: Recorder
    changed: asyncio.Event

    async def get(self, tenant_id: UUID) -> TenantOverride:
        """NoOverride."""
        async with self.database.begin() as rows:
            found = await rows.override(tenant_id)
        if found is None:
            raise NoOverride
        return found

    async def list(self, state: OverrideState | None, *, after: UUID | None, limit: int) -> Sequence[TenantOverride]:
        async with self.database.begin() as rows:
            return await rows.overrides(state, self.recorder.clock(), after=after, limit=limit)

    async def set(self, tenant_id: UUID, override: Override, reason: str, origin: Origin) -> TenantOverride:
        """InvalidInput for one that has ended; TooManyOverrides."""
        now = self.recorder.clock()
        if override.ends_at is not None and override.ends_at <= now:
            raise InvalidInput.field("body", "ends_at", msg="that is over")
        new = TenantOverride(tenant_id, override, reason, origin.actor, now)
        async with self.database.begin() as rows:
            await rows.lock()
            old = await rows.override(tenant_id)
            if old is None and await rows.count_overrides() >= MOST_OVERRIDES:
                raise TooManyOverrides(MOST_OVERRIDES)
            await rows.put_override(new)
            before, after = document_of(old.override) if old is not None else None, document_of(override)
            subject = str(tenant_id)
            await rows.add_change(
                self.recorder.change(origin, "override", "set", subject, reason=reason, before=before, after=after)
            )
        self.changed.set()
        return new

    async def remove(self, tenant_id: UUID, reason: str, origin: Origin) -> None:
        """NoOverride."""
        async with self.database.begin() as rows:
            await rows.lock()
            old = await rows.override(tenant_id)
            if old is None:
                raise NoOverride
            await rows.remove_override(tenant_id)
            before = document_of(old.override)
            await rows.add_change(
                self.recorder.change(origin, "override", "removed", str(tenant_id), reason=reason, before=before)
            )
        self.changed.set()

    async def archive(self, ended_before: datetime, origin: Origin) -> int:
        """Removes those that ended before that; the trail of changes keeps what they said. How many."""
        async with self.database.begin() as rows:
            await rows.lock()
            ended = await rows.overrides_ended(ended_before)
            for one in ended:
                await rows.remove_override(one.tenant_id)
                before = document_of(one.override)
                await rows.add_change(
                    self.recorder.change(origin, "override", "archived", str(one.tenant_id), reason="it ended", before=before)
                )
        if ended:
            self.changed.set()
        return len(ended)


def document_of(override: Override) -> Document:
    """What is given in it, and nothing else: null is a rule, and what is absent is none."""
    return override.model_dump(mode="json", exclude_unset=True)
