"""What ratelimit-service keeps: changes, the versions of the plan file, the overrides of tenants."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from shared.limits.plans import Override

__all__ = ["OURSELVES", "Change", "Document", "Noun", "Origin", "OverrideState", "PlanVersion", "Source", "TenantOverride"]

Document = Mapping[str, Any]
Noun = Literal["plan", "override", "counter"]
Source = Literal["shipped", "file", "published", "restored"]
OverrideState = Literal["scheduled", "active", "ended"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks for a change: a user's id or `svc:…`, with the request and from where."""

    actor: str
    request_id: str = ""
    client_ip: str | None = None


OURSELVES = Origin("svc:ratelimit-service")


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after` hold what differs, by the place of each rule, or all of a small thing; None where there was none.

    `seq` is the order of all changes, and given when it is written.
    """

    id: UUID
    at: datetime
    noun: Noun
    event: str
    subject: str
    actor: str
    request_id: str
    client_ip: str | None
    reason: str
    before: Document | None
    after: Document | None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """A plan file as it came into force by `change`; `rules` is a digest of what it says, `restores` an older one's number."""

    number: int
    source: Source
    restores: int | None
    text: str
    rules: str
    change: Change


@dataclass(frozen=True, slots=True)
class TenantOverride:
    tenant_id: UUID
    override: Override
    reason: str
    actor: str
    changed_at: datetime

    def state(self, now: datetime) -> OverrideState:
        if self.override.holds(now):
            return "active"
        return "ended" if self.override.ends_at is not None and self.override.ends_at <= now else "scheduled"
