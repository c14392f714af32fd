"""Whom a key or a session stands for, asked by the gateway."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from auth_service.domain.errors import NobodyValid
from auth_service.domain.model import Resolved, SessionOf
from auth_service.domain.ports import Database
from auth_service.domain.scopes import granted
from auth_service.domain.using import KeyUsage
from shared.clock import Clock
from shared.scopes import scopes_of

__all__ = ["Resolver"]


class Resolver:
    """What is unknown, revoked, expired, or of a disabled user is nobody's: not among many, and NobodyValid of one."""

    def __init__(self, database: Database, uses: KeyUsage, clock: Clock) -> None:
        self._database = database
        self._uses = uses
        self._clock = clock

    async def api_key(self, key_sha256: str) -> Resolved:
        return _valid((await self.api_keys([key_sha256])).get(key_sha256))

    async def api_keys(self, digests: Sequence[str]) -> dict[str, Resolved]:
        """In one statement."""
        now = self._clock()
        found = await self._database.lookups.api_keys(digests, now)
        for one in found.values():
            if one.key_id is not None:
                self._uses.note(one.key_id, now)
        return {digest: replace(one, scopes=granted(one.scopes, one.roles)) for digest, one in found.items()}

    async def session(self, user_id: UUID, session_id: UUID) -> Resolved:
        asked = SessionOf(user_id, session_id)
        return _valid((await self.sessions([asked])).get(asked))

    async def sessions(self, asked: Sequence[SessionOf]) -> dict[SessionOf, Resolved]:
        """In one statement."""
        found = await self._database.lookups.sessions(asked, self._clock())
        return {session: replace(one, scopes=scopes_of(one.roles)) for session, one in found.items()}

    async def origins(self) -> Sequence[str]:
        """All that some active tenant allows: a browser asks before it sends a credential."""
        return await self._database.lookups.origins()


def _valid(found: Resolved | None) -> Resolved:
    if found is None:
        raise NobodyValid
    return found
