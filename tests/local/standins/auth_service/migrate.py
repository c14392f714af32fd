"""A migration as the stack sees one: it makes a table, as the schema's owner."""

import asyncio

import asyncpg


def migrate(database_url: str) -> None:
    asyncio.run(_migrate(database_url))


async def _migrate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS auth")
    await connection.execute("CREATE TABLE IF NOT EXISTS auth.standin_key (username text PRIMARY KEY, api_key text NOT NULL)")
    await connection.close()
