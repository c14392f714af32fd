"""Audit events as facts: `kalpi.auth.{user,key,session,tenant,guess}.<event>.v1`."""

from datetime import timedelta

from auth_service.domain.chain import Sealed
from shared.events import EventBus
from shared.streams import Hook
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS, auth_subject

__all__ = ["KEPT", "AuthFacts"]

KEPT = timedelta(days=7)
"""How long the stream keeps a fact."""
# who is behind by more reads the trail itself, which Postgres keeps
_STREAM_BYTES = 64 << 20


class AuthFacts:
    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def declare(self, on_new: Hook | None = None) -> None:
        await self._bus.streams.declare(
            AUTH_STREAM, [AUTH_SUBJECTS], max_age_s=KEPT.total_seconds(), max_bytes=_STREAM_BYTES, on_new=on_new
        )

    async def publish(self, row: Sealed) -> None:
        """The event's id is the fact's, so one that is published again is dropped by NATS or by its reader.

        No value of what changed: those may be personal, and a stream cannot forget one person. The names of the fields, the
        subjects and the place in the trail lead whoever may read it to the rest.
        """
        event = row.event
        subjects = {
            "user_id": event.user_id,
            "tenant_id": event.tenant_id,
            "key_id": event.key_id,
            "session_id": event.session_id,
        }
        data = {name: str(value) for name, value in subjects.items() if value is not None}
        subject = auth_subject(event.noun, event.event)
        told = {**data, "seq": row.link.seq, "event": event.event, "changed": event.changed}
        await self._bus.publish(subject, told, fact_id=event.id, occurred_at=event.occurred_at)
