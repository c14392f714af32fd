"""Audit events as facts: `kalpi.auth.{user,key,session,tenant}.<event>.v1`."""

from auth_service.domain.model import AuditEvent
from shared.events import EventBus
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS, auth_subject

__all__ = ["AuthFacts"]

_WEEK_S = 7 * 86_400
# who is behind by more reads the trail itself, which Postgres keeps
_STREAM_BYTES = 64 << 20


class AuthFacts:
    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def declare(self) -> None:
        await self._bus.streams.declare(AUTH_STREAM, [AUTH_SUBJECTS], max_age_s=_WEEK_S, max_bytes=_STREAM_BYTES)

    async def publish(self, event: AuditEvent) -> None:
        """The event's id is the fact's, so one that is published again is dropped by NATS or by its reader."""
        subjects = {
            "user_id": event.user_id,
            "tenant_id": event.tenant_id,
            "key_id": event.key_id,
            "session_id": event.session_id,
        }
        data = {name: str(value) for name, value in subjects.items() if value is not None}
        subject = auth_subject(event.noun, event.event)
        details = {**data, "details": event.details}
        await self._bus.publish(subject, details, fact_id=event.id, occurred_at=event.occurred_at)
