"""What the domain needs of the world. Times are passed in; nothing here reads a clock."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.chain import Head, Link, Recorded, Sealed
from auth_service.domain.model import (
    ApiKey,
    ApiKeyEntry,
    AuditEvent,
    Letter,
    Mail,
    Member,
    Owner,
    RefreshToken,
    Resolved,
    Session,
    Tenant,
    TenantEntry,
    TenantRole,
    User,
    UserEntry,
)
from auth_service.domain.one_time import OneTimeToken, Purpose
from auth_service.domain.signing import SigningKey
from auth_service.domain.throttling import Bucket, Charge

__all__ = [
    "AccessTokens",
    "AccountFilter",
    "ApiKeys",
    "AuditFilter",
    "AuditTrail",
    "Database",
    "FactPublisher",
    "Hasher",
    "HeadExport",
    "HeadSigner",
    "KeyFilter",
    "KeyUses",
    "Listings",
    "Lookups",
    "MailQueue",
    "Mailer",
    "Mails",
    "Networks",
    "OneTimeTokens",
    "Outbox",
    "RingTransaction",
    "Sessions",
    "SigningKeys",
    "Tenants",
    "Throttle",
    "TrailReader",
    "Transaction",
    "Unlocking",
    "Users",
]


class Users(Protocol):
    async def add(self, tenant: Tenant, user: User) -> None:
        """AlreadyRegistered when the name or the address is taken, in any case of its letters."""

    async def add_member(self, user: User) -> None:
        """As `add`, into a tenant that is there."""

    async def by_id(self, user_id: UUID) -> User | None: ...

    async def lock(self, user_id: UUID) -> User | None:
        """As `by_id`, and nobody else changes it until the transaction ends."""

    async def save(self, user: User) -> None:
        """Writes what may change; AlreadyRegistered when the new address is taken."""


class Tenants(Protocol):
    async def add(self, tenant: Tenant) -> None: ...

    async def get(self, tenant_id: UUID) -> Tenant | None: ...

    async def lock(self, tenant_id: UUID) -> Tenant | None:
        """As `get`, and nobody else changes it, nor who its members and owners are, until the transaction ends."""

    async def save(self, tenant: Tenant) -> None: ...

    async def members(self, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[Member]:
        """Newest users first; those older than `before`."""

    async def count(self, tenant_id: UUID) -> int:
        """Members, disabled ones too."""

    async def has_other_owner(self, tenant_id: UUID, user_id: UUID) -> bool:
        """Whether an owner who is not disabled is left without this user."""

    async def join(self, tenant_id: UUID, user_id: UUID, role: TenantRole) -> bool:
        """A user of any tenant comes into the one of the transaction, with their keys and sessions. False for nobody."""


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


class Sessions(Protocol):
    async def add(self, session: Session, token: RefreshToken) -> None: ...

    async def lock_family(self, token_sha256: str) -> Session | None:
        """The session this token belongs to; nobody else changes its family until the transaction ends."""

    async def tokens(self, digests: Sequence[str]) -> Mapping[str, RefreshToken]: ...

    async def rotate(self, spent: RefreshToken, following: RefreshToken) -> None: ...

    async def revoke(self, session_id: UUID, now: datetime) -> Session | None:
        """The session, which is revoked now; None when it was before."""

    async def revoke_all(self, user_id: UUID, now: datetime) -> list[Session]:
        """Those that were alive, which are revoked now."""

    async def forget_expired(self, user_id: UUID, now: datetime) -> None: ...


class Throttle(Protocol):
    """Of names that may be nobody's: digests that belong to no tenant. Each call is a transaction of its own."""

    async def charge(self, buckets: Sequence[Bucket], now: datetime) -> Charge:
        """All of them one more, or none while one that refuses has to wait; two at once are two, in whichever processes."""

    async def refund(self, buckets: Sequence[Bucket], charged_at: datetime) -> None:
        """What was charged then was a success."""


class Unlocking(Protocol):
    async def clear(self, account: str) -> int:
        """Forgets every failure of this account; how many buckets had some."""


class Networks(Protocol):
    async def know(self, owner: Owner, network: str, now: datetime, *, forget_before: datetime) -> None:
        """The owner has just shown their password from there; networks not seen since `forget_before` are forgotten."""


class OneTimeTokens(Protocol):
    async def add(self, token: OneTimeToken) -> None:
        """Once: of an id that is there, the digest is replaced while the token is unused."""

    async def newest(self, user_id: UUID, purpose: Purpose) -> OneTimeToken | None: ...

    async def use(self, token_id: UUID, now: datetime) -> bool:
        """False for one that is used or expired; of two at once one is True."""

    async def void(self, user_id: UUID, purpose: Purpose, now: datetime) -> None:
        """Every token of the user's that is not used yet; those that expired are forgotten."""

    async def count_invitations(self, tenant_id: UUID, *, since: datetime) -> int:
        """Made after `since`, used or not."""

    async def open_invitations(self, tenant_id: UUID, now: datetime, *, before: UUID | None, limit: int) -> list[OneTimeToken]:
        """Those that can be accepted, newest first; those older than `before`."""

    async def void_invitations(self, tenant_id: UUID, email: str, now: datetime, *, forget_before: datetime) -> None:
        """Those to this address that are not used yet; all that were made before `forget_before` are forgotten."""

    async def use_invitation(self, invitation_id: UUID, now: datetime) -> bool:
        """As `use`, and False for a token of another purpose."""


class Mails(Protocol):
    async def add(self, mail: Mail) -> None:
        """Due at once."""


class MailQueue(Mails, Protocol):
    """Each call is a transaction of its own."""

    async def take(self, now: datetime, until: datetime, limit: int) -> list[Mail]:
        """Those due, longest first, with this attempt counted; nobody else takes them before `until`."""

    async def put_back(self, mail_id: UUID, due_at: datetime) -> None: ...

    async def done(self, mail_id: UUID) -> None:
        """It is gone."""


class Mailer(Protocol):
    async def send(self, letter: Letter) -> None:
        """Returns once somebody else is responsible for it. MailRefused; Unavailable when it may be taken later."""


class SigningKeys(Protocol):
    async def published(self, now: datetime) -> Sequence[SigningKey]: ...

    async def all(self) -> Sequence[SigningKey]:
        """Oldest first, with those that have ended."""

    async def lock(self) -> Sequence[SigningKey]:
        """As `all`, and nobody else rotates until the transaction ends."""

    async def put(self, *keys: SigningKey) -> None:
        """Adds those that are new; of the others, until when they verify is changed."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events of the trail: those that have all of what is given. `until` is not among them."""

    user_id: UUID | None = None
    tenant_id: UUID | None = None
    actor: str | None = None
    noun: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    request_id: str | None = None


class KeyUses(Protocol):
    async def save(self, uses: Mapping[UUID, datetime]) -> None:
        """When each key was last used, in one statement; what is newer stays."""


class AuditTrail(Protocol):
    async def record(self, *events: AuditEvent) -> None: ...


class TrailReader(Protocol):
    """What is sealed of the trail, of all tenants. Each is one statement of its own."""

    async def newest(self, asked: AuditFilter, *, before: int | None, limit: int) -> list[Sealed]:
        """Newest first; what comes before that sequence number."""

    async def oldest(self, asked: AuditFilter, *, after: int, limit: int) -> list[Sealed]:
        """Oldest first; what comes after that sequence number."""

    async def head(self) -> Head | None:
        """The newest that was signed."""


class Outbox(Protocol):
    """What the relay does with the trail. Each of the locks is one relay's at a time, until its transaction ends."""

    async def lock_sealing(self) -> None: ...

    async def lock_publishing(self) -> None: ...

    async def last(self) -> Link:
        """The newest that is sealed."""

    async def unsealed(self, limit: int) -> list[Recorded]:
        """The oldest events that no link leads to yet, in the order in which they were written."""

    async def seal(self, rows: Sequence[Sealed]) -> None: ...

    async def published(self) -> int:
        """The sequence number up to which everything was published."""

    async def sealed(self, *, after: int, limit: int) -> list[Sealed]: ...

    async def mark_published(self, seq: int) -> None: ...

    async def before(self, moment: datetime) -> int:
        """The sequence number behind which everything sealed since then stands."""

    async def head(self) -> Head | None:
        """The newest that was signed."""

    async def add_head(self, head: Head) -> None: ...


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


class Lookups(Protocol):
    """Whatever is asked before the tenant is known. Each is one statement of its own."""

    async def by_login(self, name: str) -> User | None:
        """By e-mail address where the name has an @, which no user name has, else by user name."""

    async def api_key(self, key_sha256: str, now: datetime) -> Resolved | None: ...

    async def session(self, user_id: UUID, session_id: UUID, now: datetime) -> Resolved | None: ...

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


class RingTransaction(Protocol):
    """The ring of signing keys belongs to no tenant."""

    @property
    def keys(self) -> SigningKeys: ...
    @property
    def audit(self) -> AuditTrail: ...


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

    def transaction(self, tenant_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """Sees and writes rows of this tenant alone. Commits at the end, rolls back when the body raises."""

    def outbox(self) -> AbstractAsyncContextManager[Outbox]:
        """A transaction as well, on the events of all tenants."""

    def ring(self) -> AbstractAsyncContextManager[RingTransaction]:
        """As `transaction`, on the ring of signing keys."""


class Hasher(Protocol):
    """Slow on purpose; both raise HashingBusy rather than queue without bound."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, hashed: str | None, password: str, *, nobody: str) -> bool:
        """Takes as long for None (nobody's hash, of the account `nobody`) as for a real one, and answers False."""

    async def learn(self, users: Mapping[str, int]) -> None:
        """How many users have a hash of which parameters: nobody's are then like theirs."""

    def is_outdated(self, hashed: str) -> bool:
        """Whether it was made with other parameters than today's."""


class AccessTokens(Protocol):
    @property
    def lifetime_s(self) -> int: ...

    def issue(self, user_id: UUID, session_id: UUID) -> str: ...


class FactPublisher(Protocol):
    async def publish(self, row: Sealed) -> None:
        """Returns once it is acknowledged, else raises Unavailable; the same event twice is harmless."""


class HeadSigner(Protocol):
    def sign(self, link: Link, at: datetime) -> Head: ...


class HeadExport(Protocol):
    async def export(self, head: Head) -> None:
        """Returns once it is out of the database's reach, else raises Unavailable."""
