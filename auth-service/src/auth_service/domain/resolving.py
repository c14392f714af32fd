"""Whom a key or a session stands for, asked by the gateway."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from auth_service.domain.errors import NobodyValid
from auth_service.domain.model import Resolved
from auth_service.domain.ports import Database
from auth_service.domain.scopes import granted
from auth_service.domain.using import KeyUsage
from shared.clock import Clock
from shared.scopes import scopes_of

__all__ = ["Resolver"]


class Resolver:
    """Both raise NobodyValid for what is unknown, revoked, expired, or of a disabled user."""

    def __init__(self, database: Database, uses: KeyUsage, clock: Clock) -> None:
        self._database = database
        self._uses = uses
        self._clock = clock

    async def api_key(self, key_sha256: str) -> Resolved:
        now = self._clock()
        found = _valid(await self._database.lookups.api_key(key_sha256, now))
        if found.key_id is not None:
            self._uses.note(found.key_id, now)
        return replace(found, scopes=granted(found.scopes, found.roles))

    async def session(self, user_id: UUID, session_id: UUID) -> Resolved:
        found = _valid(await self._database.lookups.session(user_id, session_id, self._clock()))
        return replace(found, scopes=scopes_of(found.roles))

    async def origins(self) -> Sequence[str]:
        """All that some active tenant allows: a browser asks before it sends a credential."""
        return await self._database.lookups.origins()


def _valid(found: Resolved | None) -> Resolved:
    if found is None:
        raise NobodyValid
    return found
