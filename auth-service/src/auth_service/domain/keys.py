"""API keys: shown once, kept as a digest."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import NoSuchKey, NoSuchUser, TooManyKeys
from auth_service.domain.model import ApiKey, Origin, Owner
from auth_service.domain.ports import Database
from shared.api_keys import PREFIX, digest, is_well_formed, new_api_key
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["MOST_KEYS", "KeyService", "hint"]

MOST_KEYS = 100
"""Keys a user may have at a time."""


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

    async def create(self, owner: Owner, name: str, expires_in: timedelta | None, origin: Origin) -> tuple[str, ApiKey]:
        """The key itself, this once, and its record. TooManyKeys."""
        secret = new_api_key(self._random)
        now = self._clock()
        expires_at = now + expires_in if expires_in is not None else None
        key = ApiKey(self._new_id(), owner.tenant_id, owner.user_id, name, digest(secret), hint(secret), now, expires_at)
        async with self._database.transaction(owner.tenant_id) as tx:
            # the lock makes the count exact when keys are made at the same time
            user = await tx.users.lock(owner.user_id)
            if user is None:
                raise NoSuchUser
            if await tx.api_keys.count(owner.user_id) >= MOST_KEYS:
                raise TooManyKeys(MOST_KEYS)
            await tx.api_keys.add(key)
            await tx.audit.record(self._auditor.event("key", "created", user, origin, now, after=key))
        return secret, key

    async def list(self, owner: Owner, *, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        async with self._database.transaction(owner.tenant_id) as tx:
            return await tx.api_keys.page(owner.user_id, before=before, limit=limit)

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
        found = await self._database.lookups.api_key(digest(secret), self._clock())
        return found is not None and found.user_id == user_id
