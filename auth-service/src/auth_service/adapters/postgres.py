"""Transactions on Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from auth_service.adapters.api_keys import PostgresApiKeys
from auth_service.adapters.audit import PostgresAuditTrail, PostgresOutbox
from auth_service.adapters.failures import PostgresFailures
from auth_service.adapters.sessions import PostgresSessions
from auth_service.adapters.users import PostgresUsers
from shared.postgres import check_engine
from shared.postgres import transaction as begun

__all__ = ["PostgresDatabase", "PostgresTransaction"]


class PostgresTransaction:
    def __init__(self, connection: AsyncConnection) -> None:
        self.users = PostgresUsers(connection)
        self.api_keys = PostgresApiKeys(connection)
        self.sessions = PostgresSessions(connection)
        self.failures = PostgresFailures(connection)
        self.audit = PostgresAuditTrail(connection)
        self.outbox = PostgresOutbox(connection)


class PostgresDatabase:
    """`written` is set after each commit that recorded audit events."""

    def __init__(self, engine: AsyncEngine, written: asyncio.Event) -> None:
        self._engine = engine
        self._written = written

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """Unavailable when the database does not answer, cannot be written to, or rolled the transaction back by itself."""
        async with begun(self._engine, away="the user database does not answer") as connection:
            transaction = PostgresTransaction(connection)
            yield transaction
        if transaction.audit.wrote:
            self._written.set()

    async def check(self) -> None:
        """For health: raises when Postgres does not answer."""
        await check_engine(self._engine)
