"""Where all of it is kept: transactions, and what is looked up across tenants."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.model import ApiKeyEntry, Owner, Resolved, SessionOf, TenantEntry, User, UserEntry
from auth_service.domain.one_time import OneTimeToken
from auth_service.domain.ports.accounts import Networks, Tenants, Users
from auth_service.domain.ports.audit import AuditTrail, Outbox, TrailReader
from auth_service.domain.ports.credentials import ApiKeys, KeyUses, OneTimeTokens, Sessions, SigningKeys
from auth_service.domain.ports.mail import MailQueue, Mails
from auth_service.domain.ports.sweeping import Sweeping
from auth_service.domain.ports.throttling import Throttle, Unlocking

__all__ = ["AccountFilter", "Database", "KeyFilter", "Listings", "Lookups", "RingTransaction", "Transaction"]


class Transaction(Protocol):
    """One repository per aggregate, all in the same transaction and on the rows of one tenant alone."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def users(self) -> Users: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def one_time(self) -> OneTimeTokens: ...
    @property
    def mails(self) -> Mails: ...
    @property
    def networks(self) -> Networks: ...
    @property
    def unlocking(self) -> Unlocking: ...
    @property
    def audit(self) -> AuditTrail: ...

    async def enter(self, tenant_id: UUID) -> None:
        """From here on it is a transaction of this tenant: for a user who goes from one to another."""


class RingTransaction(Protocol):
    """The ring of signing keys belongs to no tenant."""

    @property
    def keys(self) -> SigningKeys: ...
    @property
    def audit(self) -> AuditTrail: ...


class Lookups(Protocol):
    """Whatever is asked before the tenant is known. Each is one statement of its own."""

    async def by_login(self, name: str) -> User | None:
        """By e-mail address where the name has an @, which no user name has, else by user name."""

    async def api_keys(self, digests: Sequence[str], now: datetime) -> Mapping[str, Resolved]:
        """Those that are valid, by their digest."""

    async def sessions(self, asked: Sequence[SessionOf], now: datetime) -> Mapping[SessionOf, Resolved]:
        """Those that are valid, by whose they are and which."""

    async def tenant_of_user(self, user_id: UUID) -> UUID | None: ...

    async def owner_of_key(self, key_id: UUID) -> Owner | None:
        """Of a key, valid or not."""

    async def origins(self) -> list[str]:
        """All that some active tenant allows, each once."""

    async def tenant_of_token(self, token_sha256: str) -> UUID | None:
        """Of a refresh token."""

    async def one_time_token(self, token_sha256: str) -> OneTimeToken | None: ...

    async def knows_network(self, user_id: UUID, network: str, since: datetime) -> bool:
        """Whether the user has logged in from there after `since`."""

    async def parameter_sets(self) -> Mapping[str, int]:
        """How many users have a hash made with which parameters; reads every user."""


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which users or tenants: those that have all of what is given. `begins` is how a name or an address does, in any case of
    its letters; `tier` the one that is set for them, of users the own one."""

    begins: str | None = None
    tier: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Whose keys: a user's, those of all members of a tenant, or everybody's."""

    user_id: UUID | None = None
    tenant_id: UUID | None = None


class Listings(Protocol):
    """Pages for administrators, of all tenants: they may lag behind what was written, for a replica may give them."""

    async def users(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> list[UserEntry]:
        """Newest first; those older than `before`, as of all pages."""

    async def tenants(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> list[TenantEntry]: ...

    async def keys(self, asked: KeyFilter, now: datetime, *, before: UUID | None, limit: int) -> list[ApiKeyEntry]:
        """Neither those that are revoked, nor those that were replaced and have ended."""


class Database(Protocol):
    """All of it raises Unavailable when the database does not answer."""

    @property
    def lookups(self) -> Lookups: ...
    @property
    def listings(self) -> Listings: ...

    @property
    def trail(self) -> TrailReader: ...

    @property
    def key_uses(self) -> KeyUses: ...

    @property
    def throttle(self) -> Throttle: ...

    @property
    def mails(self) -> MailQueue: ...

    @property
    def sweeping(self) -> Sweeping: ...

    def transaction(self, tenant_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """Sees and writes rows of this tenant alone. Commits at the end, rolls back when the body raises."""

    def outbox(self) -> AbstractAsyncContextManager[Outbox]:
        """A transaction as well, on the events of all tenants."""

    def ring(self) -> AbstractAsyncContextManager[RingTransaction]:
        """As `transaction`, on the ring of signing keys."""
