"""What auth-service knows about: plain records, as they are stored. Times are aware and in UTC."""

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal, NamedTuple
from uuid import UUID

from shared.scopes import Scope

__all__ = [
    "FREE",
    "ApiKey",
    "ApiKeyEntry",
    "AuditEvent",
    "Credential",
    "Letter",
    "Mail",
    "MailKind",
    "Member",
    "Network",
    "Origin",
    "Owner",
    "Quota",
    "RefreshToken",
    "Resolved",
    "Session",
    "SessionOf",
    "Tenant",
    "TenantEntry",
    "TenantRole",
    "User",
    "UserEntry",
]

FREE = "free"
"""The tier of everyone who registers; what a tier allows is ratelimit-service's to say."""


Network = IPv4Network | IPv6Network
Quota = Literal["shared", "split"]
MailKind = Literal["reset", "email_changed", "password_changed", "invite"]
TenantRole = Literal["owner", "admin", "member"]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rows: a user's, in the tenant they lie in."""

    tenant_id: UUID
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Tenant:
    """`tier`, where there is one, is that of all its members, who share what it allows or have each a part of it (`quota`)."""

    id: UUID
    name: str
    created_at: datetime
    personal: bool = True
    tier: str | None = None
    quota: Quota = "split"
    allowed_origins: tuple[str, ...] = ()
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    tenant_id: UUID
    username: str
    email: str
    password_hash: str = field(repr=False)
    tier: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
    password_changed_at: datetime
    tenant_role: TenantRole = "owner"

    @property
    def owner(self) -> Owner:
        return Owner(self.tenant_id, self.id)


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user in a list: without what only logging in needs."""

    id: UUID
    tenant_id: UUID
    username: str
    email: str
    tier: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """A user as the others of the tenant see them."""

    id: UUID
    username: str
    tenant_role: TenantRole
    is_active: bool


@dataclass(frozen=True, slots=True)
class TenantEntry(Tenant):
    """With how many members it has, disabled ones too."""

    members: int = 0


@dataclass(frozen=True, slots=True)
class ApiKeyEntry:
    """A key in a list for administrators."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    name: str
    key_hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`key_sha256` is all that is kept of the key; `key_hint` is its prefix and last four characters.

    `allowed_ips` None is from anywhere. One that was `replaced_by` another ends at `expires_at`, after its grace.
    `last_used_at` is written apart from the key, and some seconds late.
    """

    id: UUID
    tenant_id: UUID
    user_id: UUID
    name: str
    key_sha256: str = field(repr=False)
    key_hint: str
    created_at: datetime
    expires_at: datetime | None
    scopes: tuple[Scope, ...]
    allowed_ips: tuple[Network, ...] | None = None
    replaced_by: UUID | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = field(default=None, repr=False)
    """Kept apart: no change of the key, and so not for the audit trail."""

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Session:
    """A login and every refresh token that descends from it (the family)."""

    id: UUID
    tenant_id: UUID
    user_id: UUID
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    refresh_due_at: datetime | None = field(default=None, repr=False)
    """What its refreshes are counted by (`auth_service.domain.refreshing`): no change of it, and so not for the audit trail."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token is spent when its successor was issued for it."""

    id: UUID
    tenant_id: UUID
    session_id: UUID
    token_sha256: str = field(repr=False)
    created_at: datetime
    spent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """Waits to be sent, after so many attempts. A token that it carries is made of its id, and what it says is made then."""

    id: UUID
    kind: MailKind
    address: str
    made_at: datetime
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as it is read; sent again it has the same `id`."""

    id: UUID
    to: str
    subject: str
    text: str = field(repr=False)


class SessionOf(NamedTuple):
    """A session, and whose it is said to be."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a key or a session stands for, until when (None: a key without expiry) and from where (None: from anywhere).

    `quota` says how the tenant's tier is used by its members, of whom there are `members` (asked where it is split); None where
    the user has a quota of their own. `allowed_origins` are the tenant's; `tenant_role` is None of who is a member only.
    """

    user_id: UUID
    tenant_id: UUID
    tier: str
    roles: tuple[str, ...]
    session_id: UUID | None
    key_id: UUID | None
    expires_at: datetime | None
    scopes: tuple[Scope, ...] = ()
    allowed_ips: tuple[Network, ...] | None = None
    quota: Quota | None = None
    members: int | None = None
    allowed_origins: tuple[str, ...] = ()
    tenant_role: Literal["owner", "admin"] | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller asks with: their own, and what it may be used for. `key_id` is None for a session."""

    owner: Owner
    scopes: tuple[Scope, ...]
    key_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from; `actor` is None when the user concerned acts without having proved it yet (login)."""

    actor: str | None
    request_id: str = ""
    client_ip: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to whom; never a secret. It becomes the fact `kalpi.auth.<noun>.<event>.v1`.

    `before` and `after` are the fields that changed, as JSON (`auth_service.domain.auditing`); of what is new, `after` is all of
    it, and of what is gone `before`. They hold personal values, and so stay in the trail: a fact names the fields alone.
    """

    id: UUID
    occurred_at: datetime
    noun: str
    event: str
    origin: Origin
    user_id: UUID | None
    tenant_id: UUID | None
    key_id: UUID | None = None
    session_id: UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    @property
    def changed(self) -> list[str]:
        """The names of the fields that another value has replaced."""
        return sorted(self.after) if self.before is not None and self.after is not None else []
