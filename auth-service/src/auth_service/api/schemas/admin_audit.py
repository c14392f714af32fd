"""Of the audit trail."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.domain.chain import Head, Sealed, document, head_document

__all__ = ["AuditPage", "EventAnswer", "HeadAnswer", "Seq"]

Seq = Annotated[int, Field(ge=0, lt=1 << 63)]


class EventAnswer(BaseModel):
    """`before` and `after` are the fields that changed; of what is new, `after` is all of it, and of what is gone `before`.
    `hash` covers everything else."""

    seq: int
    hash: str
    version: int
    recorded: int
    id: UUID
    occurred_at: datetime
    noun: str
    event: str
    actor: str | None
    request_id: str
    client_ip: str | None
    user_id: UUID | None
    tenant_id: UUID | None
    key_id: UUID | None
    session_id: UUID | None
    details: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(BaseModel):
    data: list[EventAnswer]
    next_cursor: int | None

    @classmethod
    def of(cls, rows: Sequence[Sealed], limit: int) -> "AuditPage":
        page = [EventAnswer(**document(row)) for row in rows[:limit]]
        return cls(data=page, next_cursor=page[-1].seq if len(rows) > limit else None)


class HeadAnswer(BaseModel):
    """`signature` is Ed25519's (base64) over what docs/adr/0013 describes; `public_key` is base64url of 32 bytes."""

    seq: int
    hash: str
    signed_at: datetime
    kid: str
    signature: str
    public_key: str

    @classmethod
    def of(cls, head: Head, public_key: str) -> "HeadAnswer":
        return cls(**head_document(head), public_key=public_key)
