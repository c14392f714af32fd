"""A second migration, so that the stack has more than one to run."""

import asyncio

import asyncpg


def migrate(database_url: str) -> None:
    asyncio.run(_migrate(database_url))


async def _migrate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS indicator")
    await connection.close()
