"""Transactions on Postgres, and what its failures mean to whoever asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from auth_service.adapters.api_keys import PostgresApiKeys
from auth_service.adapters.audit import PostgresAuditTrail, PostgresOutbox
from auth_service.adapters.failures import PostgresFailures
from auth_service.adapters.sessions import PostgresSessions
from auth_service.adapters.users import PostgresUsers
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["PostgresDatabase", "PostgresTransaction"]

_log = get_logger("postgres")

# PostgreSQL, appendix A. Whole classes: 08 connection, 28 authorization, 40 rolled back (deadlock), 53 insufficient resources,
# 55 not in the needed state (lock timeout), 57 operator intervention (shutting down, cancelled), 58 system error.
# Single codes: no such database, schema or table (not migrated yet), read-only (a standby after a failover).
_PASSING_CLASSES = ("08", "28", "40", "53", "55", "57", "58")
_PASSING_CODES = ("3D000", "3F000", "42P01", "25006")


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
        try:
            async with self._engine.begin() as connection:
                transaction = PostgresTransaction(connection)
                yield transaction
        except (SQLAlchemyError, OSError) as error:  # asyncpg's own timeouts are TimeoutError, which is an OSError
            if not _passes(error):
                raise
            _log.warning("no database", error=type(error).__name__, sqlstate=_sqlstate(error))
            raise Unavailable("the user database does not answer") from error
        if transaction.audit.wrote:
            self._written.set()

    async def check(self) -> None:
        """For health: raises when Postgres does not answer."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


def _passes(error: SQLAlchemyError | OSError) -> bool:
    """Whether the same request may succeed later, without anybody changing a line of code."""
    if isinstance(error, OSError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    return error.connection_invalidated or state.startswith(_PASSING_CLASSES) or state in _PASSING_CODES


def _sqlstate(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
