"""What is made beside the running auth-service, with its database and its keys: at once, for its hashes cost nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from auth_service.adapters.argon2 import Argon2Hasher
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.adapters.tokens import SignedTokens
from auth_service.app import database_of, gate_of, hasher_of
from auth_service.domain.keys import KeyService, NewKey
from auth_service.domain.model import Credential, Origin, Owner
from auth_service.domain.rotating import RingReader
from auth_service.domain.sessions import Grant, SessionRules, SessionService
from auth_service.seed import SeedUser, seed
from auth_service.settings import Settings
from shared.clock import system_clock
from shared.ids import new_id
from shared.scopes import Scope
from shared.settings import decode_key
from tests.support.accounts import PASSWORD

__all__ = ["Backstage", "backstage"]

ORIGIN = Origin("svc:matrix", client_ip="127.0.0.1")


class Backstage:
    def __init__(self, settings: Settings, database: PostgresDatabase, hasher: Argon2Hasher, tokens: SignedTokens) -> None:
        gate = gate_of(settings, database, hasher, system_clock)
        rules = SessionRules(decode_key(settings.refresh_key.get_secret_value()), timedelta(days=1), 60)
        self._settings = settings
        self._database = database
        self._sessions = SessionService(
            database, hasher, gate, tokens, rules, clock=system_clock, new_id=new_id, random=os.urandom
        )

    async def keys_of_users(self, tier: str, count: int, roles: tuple[str, ...]) -> list[str]:
        """Of so many new users of this tier, each a key that may do all that its user may."""
        names = [f"m{new_id().hex}" for _ in range(count)]
        rights: dict[str, Any] = {"password": PASSWORD, "tier": tier, "roles": roles, "key_name": "matrix", "api_key": None}
        asked = [SeedUser(username=name, email=f"{name}@example.com", **rights) for name in names]
        return [user.api_key for user in await seed(self._settings, asked)]

    async def session(self, name: str) -> Grant:
        return await self._sessions.login(name, PASSWORD, ORIGIN)

    async def expired_key(self, owner: Owner, scopes: tuple[Scope, ...]) -> str:
        """As it would have been made a week ago, for a day."""
        week_ago = system_clock() - timedelta(days=7)
        keys = KeyService(self._database, clock=lambda: week_ago, new_id=new_id, random=os.urandom)
        secret, _ = await keys.create(Credential(owner, scopes), NewKey("expired", scopes, timedelta(days=1)), ORIGIN)
        return secret


@asynccontextmanager
async def backstage(settings: Settings) -> AsyncIterator[Backstage]:
    """`settings` have the keys of the service that runs, and the cheapest hashes."""
    tokens = SignedTokens([decode_key(settings.signing_key.get_secret_value())], clock=system_clock, new_id=new_id)
    async with database_of(settings, asyncio.Event()) as database, hasher_of(settings) as hasher:
        await RingReader(database, tokens.use, system_clock).read()
        yield Backstage(settings, database, hasher, tokens)
