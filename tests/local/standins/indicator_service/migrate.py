"""A second migration, so that the stack has more than one to run."""

import asyncio

import asyncpg

from shared.roles import role_of


def migrate(owner_url: str, app_url: str) -> None:
    asyncio.run(_migrate(owner_url, role_of(app_url)))


async def _migrate(owner_url: str, app: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS indicator")
    await connection.execute(f"GRANT USAGE ON SCHEMA indicator TO {app}; GRANT ALL ON ALL TABLES IN SCHEMA indicator TO {app}")
    await connection.close()
