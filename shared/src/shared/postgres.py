"""Connections to Postgres: how many there are, how long anyone waits, what heals by itself, and what a failure means.

Of services that own tables: they depend on `kalpi-shared[postgres]`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["Begin", "check_engine", "open_engine", "sqlstate_of", "statement", "transaction"]

Begin = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""`transaction` or `statement` of an engine, for what is given neither by name."""


_CONNECT_S = 2.0
_POOL_S = 2.0
_RECYCLE_S = 1800

# PostgreSQL, appendix A. Whole classes: 08 connection, 28 authorization, 40 rolled back (deadlock), 53 insufficient resources,
# 55 not in the needed state (lock timeout), 57 operator intervention (shutting down, cancelled), 58 system error.
# Single codes: no such database, schema, table, column or function (not migrated yet), read-only (a standby after a failover).
_PASSING_CLASSES = ("08", "28", "40", "53", "55", "57", "58")
_PASSING_CODES = ("3D000", "3F000", "42P01", "42703", "42883", "25006")
# A right that was not granted yet, by the function of the server that says so ("R" of an ErrorResponse). What a policy or a
# trigger refuses has the same code, and is a mistake of ours.
_DENIED_CODE, _NOT_GRANTED = "42501", "aclcheck_error"

_log = get_logger("postgres")


def open_engine(
    database_url: str,
    *,
    service: str,
    pool_size: int,
    command_timeout_s: float | None,
    accept: Callable[[Any], Awaitable[None]] | None = None,
) -> AsyncEngine:
    """A bounded pool over `postgresql://…`; nothing is connected yet. `service` is what the server knows the connections by.

    `accept` is shown each new connection (asyncpg's) before it is used, and raises for one that must not be.
    asyncpg is handed the URL as it is, so every parameter it knows (sslmode, several hosts) means what its documentation says.
    Parameters of a statement are kept out of errors, and so out of logs: they are digests, addresses and what users wrote.
    """

    async def connect() -> Any:
        # jit: no statement here is worth compiling
        connection = await asyncpg.connect(
            database_url,
            timeout=_CONNECT_S,
            command_timeout=command_timeout_s,
            server_settings={"application_name": service, "jit": "off"},
        )
        if accept is not None:
            try:
                await accept(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_S,
        pool_recycle=_RECYCLE_S,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, away: str) -> AsyncIterator[AsyncConnection]:
    """Commits at the end, rolls back when the body raises. Unavailable, with `away` for its words, when the database does not
    answer, cannot be written to, is not set up yet, or rolled the transaction back by itself."""
    with _unavailable(away):
        async with engine.begin() as connection:
            yield connection


@asynccontextmanager
async def statement(engine: AsyncEngine, *, away: str) -> AsyncIterator[AsyncConnection]:
    """For a statement that needs no other beside it: one round trip where a transaction has three. Raises as that does."""
    with _unavailable(away):
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection


@contextmanager
def _unavailable(away: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:  # asyncpg's own timeouts are TimeoutError, which is an OSError
        if not _passes(error):
            raise
        _log.warning("no database", error=type(error).__name__, sqlstate=sqlstate_of(error))
        raise Unavailable(away) from error


async def check_engine(engine: AsyncEngine) -> None:
    """For health: raises when Postgres does not answer."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def sqlstate_of(error: BaseException) -> str:
    """What the server said; empty when it said nothing."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _passes(error: SQLAlchemyError | OSError) -> bool:
    """Whether the same request may succeed later, without anybody changing a line of code."""
    if isinstance(error, OSError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate_of(error)
    passes = state.startswith(_PASSING_CLASSES) or state in _PASSING_CODES
    return error.connection_invalidated or passes or (state == _DENIED_CODE and _said_by(error) == _NOT_GRANTED)


def _said_by(error: DBAPIError) -> str | None:
    server_error = getattr(error.orig, "__cause__", None)  # asyncpg's own
    return getattr(server_error, "server_source_function", None)


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """A connection that a restarted server has closed is replaced before it is used.

    asyncpg knows that without asking; `pool_pre_ping` would spend three round trips on every transaction to learn the same.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError
