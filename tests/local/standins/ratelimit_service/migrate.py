"""One more: the stack runs as many as there are services with tables."""

import asyncio

import asyncpg

from shared.roles import role_of


def migrate(owner_url: str, app_url: str) -> None:
    asyncio.run(_migrate(owner_url, role_of(app_url)))


async def _migrate(owner_url: str, app: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS ratelimit; GRANT USAGE ON SCHEMA ratelimit TO {app}")
    await connection.close()
