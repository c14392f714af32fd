"""Audit events are made here, so that each has an id, a time, an actor and the subjects it concerns."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from auth_service.domain.model import AuditEvent, Origin, User
from shared.ids import IdFactory

__all__ = ["Auditor"]


class Auditor:
    def __init__(self, new_id: IdFactory) -> None:
        self._new_id = new_id

    def event(
        self,
        noun: Literal["user", "key", "session", "tenant"],
        event: str,
        user: User,
        origin: Origin,
        at: datetime,
        *,
        key_id: UUID | None = None,
        session_id: UUID | None = None,
        **details: Any,
    ) -> AuditEvent:
        """`details` are facts for whoever reads the trail; never a secret."""
        return AuditEvent(
            id=self._new_id(),
            occurred_at=at,
            noun=noun,
            event=event,
            origin=origin,
            user_id=user.id,
            tenant_id=user.tenant_id,
            key_id=key_id,
            session_id=session_id,
            details=details,
        )
