"""What a user proves themselves with: passwords, keys, sessions, and tokens that are used once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.model import ApiKey, RefreshToken, Session
from auth_service.domain.one_time import OneTimeToken, Purpose
from auth_service.domain.recipients import Invited
from auth_service.domain.signing import SigningKey

__all__ = ["AccessTokens", "ApiKeys", "Hasher", "KeyUses", "OneTimeTokens", "Sessions", "SigningKeys"]


class Hasher(Protocol):
    """Slow on purpose; both raise HashingBusy rather than queue without bound."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, hashed: str | None, password: str, *, nobody: str) -> bool:
        """Takes as long for None (nobody's hash, of the account `nobody`) as for a real one, and answers False."""

    async def learn(self, users: Mapping[str, int]) -> None:
        """How many users have a hash of which parameters: nobody's are then like theirs."""

    def is_outdated(self, hashed: str) -> bool:
        """Whether it was made with other parameters than today's."""


class ApiKeys(Protocol):
    """A key that was revoked, or replaced by another and has ended, is only `lock`'s to find."""

    async def add(self, key: ApiKey) -> None: ...

    async def count(self, user_id: UUID, now: datetime) -> int:
        """Expired ones as well."""

    async def get(self, user_id: UUID, key_id: UUID, now: datetime) -> ApiKey | None: ...

    async def page(self, user_id: UUID, now: datetime, *, before: UUID | None, limit: int) -> list[ApiKey]:
        """Newest first; those older than `before`."""

    async def lock(self, user_id: UUID, key_id: UUID) -> ApiKey | None:
        """Nobody else changes it until the transaction ends."""

    async def replace(self, key: ApiKey) -> None:
        """Writes by which key it was replaced, and when it ends."""

    async def revoke(self, user_id: UUID, key_id: UUID, now: datetime) -> ApiKey | None:
        """The key, which is revoked now; None when this user has no such key (any more)."""

    async def remove(self, user_id: UUID, key_ids: Sequence[UUID], ended_before: datetime) -> list[ApiKey]:
        """Those of them that ended before then, which are gone now, with what is known of their use."""


class KeyUses(Protocol):
    async def save(self, uses: Mapping[UUID, datetime]) -> None:
        """When each key was last used, in one statement; what is newer stays."""


class Sessions(Protocol):
    async def add(self, session: Session, token: RefreshToken) -> None: ...

    async def lock_family(self, token_sha256: str) -> Session | None:
        """The session this token belongs to; nobody else changes its family until the transaction ends."""

    async def tokens(self, digests: Sequence[str]) -> Mapping[str, RefreshToken]: ...

    async def save_pace(self, session: Session) -> None:
        """Writes what its refreshes are counted by."""

    async def rotate(self, spent: RefreshToken, following: RefreshToken) -> None: ...

    async def revoke(self, session_id: UUID, now: datetime) -> Session | None:
        """The session, which is revoked now; None when it was before."""

    async def revoke_all(self, user_id: UUID, now: datetime) -> list[Session]:
        """Those that were alive, which are revoked now."""


class AccessTokens(Protocol):
    @property
    def lifetime_s(self) -> int: ...

    def issue(self, user_id: UUID, session_id: UUID) -> str: ...


class SigningKeys(Protocol):
    async def published(self, now: datetime) -> Sequence[SigningKey]: ...

    async def all(self) -> Sequence[SigningKey]:
        """Oldest first, with those that have ended."""

    async def lock(self) -> Sequence[SigningKey]:
        """As `all`, and nobody else rotates until the transaction ends."""

    async def put(self, *keys: SigningKey) -> None:
        """Adds those that are new; of the others, until when they verify is changed."""


class OneTimeTokens(Protocol):
    async def add(self, token: OneTimeToken) -> None:
        """Once: of an id that is there, the digest is replaced while the token is unused."""

    async def newest(self, user_id: UUID, purpose: Purpose) -> OneTimeToken | None: ...

    async def use(self, token_id: UUID, now: datetime) -> bool:
        """False for one that is used or expired; of two at once one is True."""

    async def void(self, user_id: UUID, purpose: Purpose, now: datetime) -> None:
        """Every token of the user's that is not used yet."""

    async def count_invitations(self, tenant_id: UUID, *, since: datetime) -> int:
        """Made after `since`, used or not."""

    async def invitations_to(self, mailbox: str, *, since: datetime) -> list[Invited]:
        """Made after `since`, by any tenant, used or not. Nobody else counts those to this mailbox until the transaction ends."""

    async def open_invitations(self, tenant_id: UUID, now: datetime, *, before: UUID | None, limit: int) -> list[OneTimeToken]:
        """Those that can be accepted, newest first; those older than `before`."""

    async def void_invitations(self, tenant_id: UUID, email: str, now: datetime) -> None:
        """Those to this address that are not used yet."""

    async def use_invitation(self, invitation_id: UUID, now: datetime) -> bool:
        """As `use`, and False for a token of another purpose."""
