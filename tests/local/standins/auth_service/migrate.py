"""A migration as the stack sees one: it makes a table, as the schema's owner."""

import asyncio

import asyncpg

from shared.roles import role_of


def migrate(owner_url: str, app_url: str) -> None:
    asyncio.run(_migrate(owner_url, role_of(app_url)))


async def _migrate(owner_url: str, app: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS auth")
    await connection.execute("CREATE TABLE IF NOT EXISTS auth.standin_key (username text PRIMARY KEY, api_key text NOT NULL)")
    await connection.execute(f"GRANT USAGE ON SCHEMA auth TO {app}; GRANT ALL ON ALL TABLES IN SCHEMA auth TO {app}")
    await connection.close()
