"""Connections to Postgres: how many there are, how long anyone waits, and what heals by itself."""

from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["open_engine"]

_CONNECT_S = 2.0
_POOL_S = 2.0
_RECYCLE_S = 1800


def open_engine(database_url: str, *, pool_size: int, command_timeout_s: float | None) -> AsyncEngine:
    """A bounded pool over `postgresql://…`; nothing is connected yet.

    asyncpg is handed the URL as it is, so every parameter it knows (sslmode, several hosts) means what its documentation says.
    Parameters of a statement are kept out of errors, and so out of logs: they are digests and addresses.
    """

    async def connect() -> Any:
        # jit: no statement here is worth compiling
        return await asyncpg.connect(
            database_url,
            timeout=_CONNECT_S,
            command_timeout=command_timeout_s,
            server_settings={"application_name": "auth-service", "jit": "off"},
        )

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


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """A connection that a restarted server has closed is replaced before it is used.

    asyncpg knows that without asking; `pool_pre_ping` would spend three round trips on every transaction to learn the same.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError
