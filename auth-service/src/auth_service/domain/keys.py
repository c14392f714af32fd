"""API keys: shown once, kept as a digest."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import NoSuchKey, NoSuchUser, TooManyKeys
from auth_service.domain.model import ApiKey, Origin
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

    async def create(self, user_id: UUID, name: str, expires_in: timedelta | None, origin: Origin) -> tuple[str, ApiKey]:
        """The key itself, this once, and its record. TooManyKeys."""
        secret = new_api_key(self._random)
        now = self._clock()
        expires_at = now + expires_in if expires_in is not None else None
        key = ApiKey(self._new_id(), user_id, name, digest(secret), hint(secret), now, expires_at)
        async with self._database.transaction() as tx:
            # the lock makes the count exact when keys are made at the same time
            user = await tx.users.lock(user_id)
            if user is None:
                raise NoSuchUser
            if await tx.api_keys.count(user_id) >= MOST_KEYS:
                raise TooManyKeys(MOST_KEYS)
            await tx.api_keys.add(key)
            await tx.audit.record(self._auditor.event("key", "created", user, origin, now, key_id=key.id))
        return secret, key

    async def list(self, user_id: UUID, *, before: UUID | None, limit: int) -> Sequence[ApiKey]:
        async with self._database.transaction() as tx:
            return await tx.api_keys.page(user_id, before=before, limit=limit)

    async def revoke(self, user_id: UUID, key_id: UUID, origin: Origin) -> None:
        """NoSuchKey also for a key of somebody else."""
        now = self._clock()
        async with self._database.transaction() as tx:
            user = await tx.users.by_id(user_id)
            if user is None or not await tx.api_keys.revoke(user_id, key_id, now):
                raise NoSuchKey
            await tx.audit.record(self._auditor.event("key", "revoked", user, origin, now, key_id=key_id))

    async def belongs_to(self, secret: str, user_id: UUID) -> bool:
        """Whether this is a valid key of this user."""
        if not is_well_formed(secret):
            return False
        async with self._database.transaction() as tx:
            owner = await tx.api_keys.resolve(digest(secret), self._clock())
        return owner is not None and owner.user_id == user_id
