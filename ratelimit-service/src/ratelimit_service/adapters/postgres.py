"""Transactions on ratelimit-service's own schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from ratelimit_service.adapters.rows import PostgresRows
from shared.errors import Unavailable
from shared.postgres import check_engine, open_engine, transaction

__all__ = ["PostgresDatabase"]

_AWAY = "the history of plans cannot be read or changed now"


class PostgresDatabase:
    """A bounded pool, while the service runs. What is not done after `within_s` is given up: a server that neither answers nor
    refuses must not keep anybody waiting who needs nothing of it but a plan in force."""

    def __init__(self, url: str, *, service: str, pool_size: int, within_s: float, away: str = _AWAY) -> None:
        self._engine = open_engine(url, service=service, pool_size=pool_size, command_timeout_s=within_s)
        self._within_s = within_s
        self._away = away

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: commits at the end, rolls back when the body raises. Unavailable when Postgres does not do it."""
        try:
            async with asyncio.timeout(self._within_s), transaction(self._engine, away=self._away) as connection:
                yield connection
        except TimeoutError:
            raise Unavailable(self._away) from None

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresRows]:
        async with self.connection() as connection:
            yield PostgresRows(connection)

    async def check(self) -> None:
        """For health: raises when Postgres does not answer."""
        await check_engine(self._engine)
