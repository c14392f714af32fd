"""Transactions on Postgres: of one tenant each, and the few things that belong to none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from auth_service.adapters import isolation
from auth_service.adapters.api_keys import PostgresApiKeys
from auth_service.adapters.audit import PostgresAuditTrail, PostgresOutbox, PostgresTrail
from auth_service.adapters.key_use import PostgresKeyUses
from auth_service.adapters.lookups import PostgresListings, PostgresLookups
from auth_service.adapters.mails import PostgresMailQueue, PostgresMails
from auth_service.adapters.networks import PostgresNetworks
from auth_service.adapters.one_time import PostgresOneTimeTokens
from auth_service.adapters.sessions import PostgresSessions
from auth_service.adapters.signing_keys import PostgresSigningKeys
from auth_service.adapters.sweeping import PostgresSweeping
from auth_service.adapters.tenants import PostgresTenants
from auth_service.adapters.throttle import PostgresThrottle, PostgresUnlocking
from auth_service.adapters.users import PostgresUsers
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.postgres import check_engine, open_engine, statement
from shared.postgres import transaction as begun
from shared.replica import Replicated

__all__ = ["PostgresDatabase", "PostgresRingTransaction", "PostgresTransaction"]

_COMMAND_S = 5.0
_AWAY = "the user database does not answer"
_REPLICA_AWAY = "its replica does not answer"


class PostgresTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.tenants = PostgresTenants(connection)
        self.users = PostgresUsers(connection)
        self.api_keys = PostgresApiKeys(connection)
        self.sessions = PostgresSessions(connection)
        self.one_time = PostgresOneTimeTokens(connection)
        self.mails = PostgresMails(connection)
        self.networks = PostgresNetworks(connection)
        self.unlocking = PostgresUnlocking(connection)
        self.audit = PostgresAuditTrail(connection)

    async def enter(self, tenant_id: UUID) -> None:
        await isolation.enter(self._connection, tenant_id)


class PostgresRingTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self.keys = PostgresSigningKeys(connection)
        self.audit = PostgresAuditTrail(connection)


class PostgresDatabase:
    """`written` is set after each commit that recorded audit events, and `posted` after each that wrote mail.

    Everything is Unavailable when the database does not answer, cannot be written to, or rolled a transaction back by itself.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        written: asyncio.Event,
        *,
        replica: AsyncEngine | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._engine = engine
        self._replica = replica
        self._written = written
        self._begin = partial(begun, engine, away=_AWAY)
        once = partial(statement, engine, away=_AWAY)
        self.lookups = PostgresLookups(once)
        lagging = Replicated(once, partial(statement, replica, away=_REPLICA_AWAY) if replica is not None else None, clock)
        self.listings = PostgresListings(lagging)
        self.trail = PostgresTrail(lagging)
        self.key_uses = PostgresKeyUses(once)
        self.throttle = PostgresThrottle(self._begin)
        self.sweeping = PostgresSweeping(once)
        self.posted = asyncio.Event()
        self.mails = PostgresMailQueue(self._begin, self.posted)

    @classmethod
    def open(
        cls,
        url: str,
        written: asyncio.Event,
        *,
        service: str,
        pool_size: int,
        replica_url: str | None = None,
        clock: Clock = system_clock,
    ) -> Self:
        """Every connection's role is looked at before it is used."""
        opened = partial(
            open_engine, service=service, pool_size=pool_size, command_timeout_s=_COMMAND_S, accept=isolation.require_bound
        )
        return cls(opened(url), written, replica=opened(replica_url) if replica_url else None, clock=clock)

    async def __aenter__(self) -> Self:
        """RoleNotBound at once; a database that is away may come."""
        for engine in self._engines():
            try:
                async with statement(engine, away=_AWAY):
                    pass
            except isolation.RoleNotBound:
                await self._dispose()
                raise
            except Unavailable:
                continue
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._dispose()

    @asynccontextmanager
    async def transaction(self, tenant_id: UUID) -> AsyncIterator[PostgresTransaction]:
        async with self._begin() as connection:
            transaction = PostgresTransaction(connection)
            await transaction.enter(tenant_id)
            yield transaction
        if transaction.audit.wrote:
            self._written.set()
        if transaction.mails.wrote:
            self.posted.set()

    @asynccontextmanager
    async def outbox(self) -> AsyncIterator[PostgresOutbox]:
        async with self._begin() as connection:
            yield PostgresOutbox(connection)

    @asynccontextmanager
    async def ring(self) -> AsyncIterator[PostgresRingTransaction]:
        async with self._begin() as connection:
            transaction = PostgresRingTransaction(connection)
            yield transaction
        if transaction.audit.wrote:
            self._written.set()

    async def check(self) -> None:
        """For health: raises when Postgres does not answer."""
        await check_engine(self._engine)

    async def check_replica(self) -> None:
        """As `check`; well where there is none."""
        if self._replica is not None:
            await check_engine(self._replica)

    def _engines(self) -> list[AsyncEngine]:
        return [engine for engine in (self._engine, self._replica) if engine is not None]

    async def _dispose(self) -> None:
        for engine in self._engines():
            await engine.dispose()
