"""Audit events are made here, so that each has an id, a time, an actor, the subjects it concerns, and what it changed.

A record's state is its fields as JSON. What is kept out of a `repr` (digests and hashes of credentials) is kept out of the trail
as well, by the same mark in the model. An event holds the fields that differ: laid one over the other, the events of a user, a
tenant or a key are that record (`auth_service.domain.rebuilding`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from auth_service.domain.model import ApiKey, AuditEvent, Origin, Session, Tenant, User
from shared.ids import IdFactory

__all__ = ["Auditor", "Record", "State", "as_json", "state_of"]

Record = Tenant | User | ApiKey | Session
State = dict[str, Any]


def state_of(record: Record) -> State:
    # a credential lies in its user's tenant, and moves along: that is the user's state
    left_out = {"tenant_id"} if isinstance(record, ApiKey | Session) else set()
    return {one.name: as_json(getattr(record, one.name)) for one in fields(record) if one.repr and one.name not in left_out}


def as_json(value: Any) -> Any:
    """A time with six digits after the second, in UTC: one moment has one form."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, tuple | list):
        return [as_json(one) for one in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def difference(before: Record, after: Record) -> tuple[State, State]:
    """The fields in which two states of a record differ, as they were and as they are."""
    old, new = state_of(before), state_of(after)
    names = [name for name in new if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}


class Auditor:
    def __init__(self, new_id: IdFactory) -> None:
        self._new_id = new_id

    def event(
        self,
        noun: str,
        event: str,
        user: User | None,
        origin: Origin,
        at: datetime,
        *,
        before: Record | None = None,
        after: Record | None = None,
        **details: Any,
    ) -> AuditEvent:
        """What happened to `after`, which was `before`; of what is new, `after` alone, and of what is gone, `before`.

        `user` is whom it concerns: it is filed under them and their tenant. `details` say what the change itself does not (a
        reason), for whoever reads the trail; never a secret, never what may identify a person.
        """
        old: State | None = None
        new: State | None = None
        if before is not None and after is not None:
            old, new = difference(before, after)
        else:
            old = state_of(before) if before is not None else None
            new = state_of(after) if after is not None else None
        return AuditEvent(
            id=self._new_id(),
            occurred_at=at,
            noun=noun,
            event=event,
            origin=origin,
            **_concerned(user, after or before),
            details=details,
            before=old,
            after=new,
        )

    def ended(
        self, sessions: Iterable[Session], user: User, origin: Origin, at: datetime, *, reason: str
    ) -> Iterator[AuditEvent]:
        """Of sessions just revoked, each was alive before."""
        for session in sessions:
            before = replace(session, revoked_at=None)
            yield self.event("session", "revoked", user, origin, at, before=before, after=session, reason=reason)


def _concerned(user: User | None, record: Record | None) -> Mapping[str, UUID | None]:
    tenant_id = record.id if isinstance(record, Tenant) else None
    return {
        "user_id": user.id if user is not None else None,
        "tenant_id": user.tenant_id if user is not None else tenant_id,
        "key_id": record.id if isinstance(record, ApiKey) else None,
        "session_id": record.id if isinstance(record, Session) else None,
    }
