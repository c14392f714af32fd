"""Tokens that are used once: HMAC-SHA256(server key, id).

What was sent can be made again from its id, so nothing secret is kept, and a mail that was not sent before a kill goes out with
the same token. Only its digest is looked for, so no look-up takes longer the nearer a guess is.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from auth_service.domain.model import TenantRole

__all__ = ["OneTimeToken", "Purpose", "digest", "token_of"]

Purpose = Literal["reset", "invite"]


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """`email` is whom it was sent to; a reset's has a user, an invitation's a role, and the mailbox that it counts for."""

    id: UUID
    tenant_id: UUID
    user_id: UUID | None
    purpose: Purpose
    email: str
    token_sha256: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
    role: TenantRole | None = None
    used_at: datetime | None = None
    mailbox: str | None = None

    def is_good(self, purpose: Purpose, now: datetime) -> bool:
        return self.purpose == purpose and self.used_at is None and now < self.expires_at


def token_of(key: bytes, token_id: UUID) -> str:
    raw = hmac.digest(key, b"one-time-token:" + token_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def digest(token: str) -> str:
    """What is stored: SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()
