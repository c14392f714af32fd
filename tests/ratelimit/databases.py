"""Databases that are migrated and have their partitions, of which there are a hundred: made once, and emptied for each test."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import asyncpg

from kalpi_local.servers import Servers
from ratelimit_service.adapters.partitions import PostgresPartitions, schedules
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_tables import metadata
from ratelimit_service.migrate import migrate
from shared.ids import new_id

__all__ = ["KEPT", "emptied", "partitioned_database"]

KEPT = schedules(log_days=30, minute_days=14, hour_days=100, day_days=400)
_EMPTY = "; ".join(f"DELETE FROM {table.fullname}" for table in reversed(metadata.sorted_tables))


@contextmanager
def partitioned_database(servers: Servers, today: date) -> Iterator[str]:
    """The URL of one that is as the service leaves it when it was started on this day."""
    name = f"ratelimit_{new_id().hex}"
    url = f"{servers.database_url.rpartition('/')[0]}/{name}"
    asyncio.run(_execute(servers.database_url, f"CREATE DATABASE {name}"))
    migrate(url)
    asyncio.run(_keep(url, today))
    yield url
    asyncio.run(_execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def emptied(url: str) -> str:
    """The same, without a row."""
    await _execute(url, _EMPTY)
    return url


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


async def _keep(url: str, today: date) -> None:
    async with PostgresDatabase(url, service="test", pool_size=1, within_s=20, away="away") as database:
        await PostgresPartitions(database.connection, KEPT).keep(today)
