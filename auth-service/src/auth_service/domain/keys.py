"""API keys: shown once, kept as a digest; each for some purposes, and perhaps for a while and from some addresses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import BadKey, KeyHasEnded, NoSuchKey, NoSuchUser, TooManyKeys
from auth_service.domain.model import ApiKey, ApiKeyEntry, Credential, Network, Origin, Owner, User
from auth_service.domain.ports import Database, KeyFilter, Transaction
from auth_service.domain.scopes import Limits, check_within, granted, inherited
from shared.api_keys import PREFIX, digest, is_well_formed, new_api_key
from shared.clock import Clock
from shared.ids import IdFactory
from shared.scopes import DATA_SCOPES, Scope, in_order

__all__ = ["MOST_KEYS", "KeyService", "NewKey", "hint"]

MOST_KEYS = 100
"""Keys a user may have at a time."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is asked for; `expires_in` None is without end, `allowed_ips` None from anywhere."""

    name: str = ""
    scopes: tuple[Scope, ...] = DATA_SCOPES
    expires_in: timedelta | None = None
    allowed_ips: tuple[Network, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks for a key, as it is in this transaction: what was resolved before may have ended since."""

    user: User
    scopes: tuple[Scope, ...]
    key: ApiKey | None


def hint(key: str) -> str:
    """What a key is recognised by in a list."""
    return f"{PREFIX}…{key[-4:]}"


class KeyService:
    def __init__(self, database: Database, *, clock: Clock, new_id: IdFactory, random: Callable[[int], bytes]) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._auditor = Auditor(new_id)

    async def create(self, caller: Credential, new: NewKey, origin: Origin) -> tuple[str, ApiKey]:
        """The key itself, this once, and its record. ScopeRequired and BeyondCaller for more than the caller has; TooManyKeys."""
        now = self._clock()
        expires_at = now + new.expires_in if new.expires_in is not None else None
        async with self._database.transaction(caller.owner.tenant_id) as tx:
            asking = await _asking(tx, caller, now)
            limits = inherited(Limits(in_order(new.scopes), expires_at, new.allowed_ips), asking.key)
            check_within(limits, asking.scopes, asking.key)
            await _check_room(tx, asking.user, now)
            secret, key = self._made(caller.owner, new.name, limits, now)
            await tx.api_keys.add(key)
            await tx.audit.record(self._auditor.event("key", "created", asking.user, origin, now, after=key))
        return secret, key

    async def rotate(self, caller: Credential, key_id: UUID, grace: timedelta, origin: Origin) -> tuple[str, ApiKey]:
        """Another key in the place of this one, which ends after `grace`. NoSuchKey, KeyHasEnded, and as `create`."""
        now = self._clock()
        owner = caller.owner
        async with self._database.transaction(owner.tenant_id) as tx:
            asking = await _asking(tx, caller, now)
            old = _still_good(await tx.api_keys.lock(owner.user_id, key_id), now)
            limits = Limits(granted(old.scopes, asking.user.roles), old.expires_at, old.allowed_ips)
            check_within(limits, asking.scopes, asking.key)
            if grace:
                await _check_room(tx, asking.user, now)
            secret, key = self._made(owner, old.name, limits, now)
            ends = min(now + grace, old.expires_at or now + grace)
            await tx.api_keys.add(key)
            ended = replace(old, expires_at=ends) if grace else replace(old, revoked_at=now)
            replaced = replace(ended, replaced_by=key.id)
            await tx.api_keys.replace(replaced)
            await tx.audit.record(
                self._auditor.event("key", "created", asking.user, origin, now, after=key),
                self._auditor.event("key", "rotated", asking.user, origin, now, before=old, after=replaced),
            )
        return secret, key

    async def get(self, owner: Owner, key_id: UUID) -> ApiKey:
        """NoSuchKey also for a key of somebody else."""
        async with self._database.transaction(owner.tenant_id) as tx:
            key = await tx.api_keys.get(owner.user_id, key_id, self._clock())
        if key is None:
            raise NoSuchKey
        return key

    async def list(self, owner: Owner, *, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        async with self._database.transaction(owner.tenant_id) as tx:
            return await tx.api_keys.page(owner.user_id, self._clock(), before=before, limit=limit)

    async def list_all(self, asked: KeyFilter, *, before: UUID | None, limit: int) -> Sequence[ApiKeyEntry]:
        """Of any tenant, for administrators of the platform."""
        return await self._database.listings.keys(asked, self._clock(), before=before, limit=limit)

    async def owner(self, key_id: UUID) -> Owner:
        """For whoever may ask about keys of any tenant; NoSuchKey."""
        owner = await self._database.lookups.owner_of_key(key_id)
        if owner is None:
            raise NoSuchKey
        return owner

    async def revoke(self, owner: Owner, key_id: UUID, origin: Origin) -> None:
        """NoSuchKey also for a key of somebody else."""
        now = self._clock()
        async with self._database.transaction(owner.tenant_id) as tx:
            user = await tx.users.by_id(owner.user_id)
            key = await tx.api_keys.revoke(owner.user_id, key_id, now) if user is not None else None
            if user is None or key is None:
                raise NoSuchKey
            before = replace(key, revoked_at=None)
            await tx.audit.record(self._auditor.event("key", "revoked", user, origin, now, before=before, after=key))

    async def belongs_to(self, secret: str, user_id: UUID) -> bool:
        """Whether this is a valid key of this user."""
        if not is_well_formed(secret):
            return False
        key_sha256 = digest(secret)
        found = (await self._database.lookups.api_keys([key_sha256], self._clock())).get(key_sha256)
        return found is not None and found.user_id == user_id

    def _made(self, owner: Owner, name: str, limits: Limits, now: datetime) -> tuple[str, ApiKey]:
        secret = new_api_key(self._random)
        return secret, ApiKey(
            id=self._new_id(),
            tenant_id=owner.tenant_id,
            user_id=owner.user_id,
            name=name,
            key_sha256=digest(secret),
            key_hint=hint(secret),
            created_at=now,
            expires_at=limits.expires_at,
            scopes=limits.scopes,
            allowed_ips=limits.allowed_ips,
        )


async def _asking(tx: Transaction, caller: Credential, now: datetime) -> _Asking:
    """The user is locked, so that keys are counted one after the other. BadKey, NoSuchUser."""
    user = await tx.users.lock(caller.owner.user_id)
    if user is None:
        raise NoSuchUser
    if caller.key_id is None:
        return _Asking(user, granted(caller.scopes, user.roles), None)
    key = await tx.api_keys.get(user.id, caller.key_id, now)
    if key is None or key.has_expired(now):
        raise BadKey
    return _Asking(user, granted(key.scopes, user.roles), key)


async def _check_room(tx: Transaction, user: User, now: datetime) -> None:
    if await tx.api_keys.count(user.id, now) >= MOST_KEYS:
        raise TooManyKeys(MOST_KEYS)


def _still_good(key: ApiKey | None, now: datetime) -> ApiKey:
    if key is None:
        raise NoSuchKey
    if key.replaced_by is not None:
        raise KeyHasEnded("was rotated before")
    if key.revoked_at is not None:
        raise KeyHasEnded("was deleted")
    if key.has_expired(now):
        raise KeyHasEnded("has expired")
    return key
