"""Whom a key or a session stands for, asked by the gateway."""

from uuid import UUID

from auth_service.domain.errors import NobodyValid
from auth_service.domain.model import Resolved
from auth_service.domain.ports import Database
from shared.clock import Clock

__all__ = ["Resolver"]


class Resolver:
    """Both raise NobodyValid for what is unknown, revoked, expired, or of a disabled user."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def api_key(self, key_sha256: str) -> Resolved:
        return _valid(await self._database.lookups.api_key(key_sha256, self._clock()))

    async def session(self, user_id: UUID, session_id: UUID) -> Resolved:
        return _valid(await self._database.lookups.session(user_id, session_id, self._clock()))


def _valid(found: Resolved | None) -> Resolved:
    if found is None:
        raise NobodyValid
    return found
