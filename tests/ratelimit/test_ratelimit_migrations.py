"""The schema of ratelimit-service: up, down and up again, as the code knows it, and history that nobody rewrites."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from auth_service.migrate import migrate as migrate_auth
from ratelimit_service.adapters.tables import SCHEMA
from ratelimit_service.adapters.usage_tables import metadata
from ratelimit_service.migrate import downgrade, migrate
from shared.ids import new_id
from shared.postgres import open_engine

TABLES = {table.name for table in metadata.tables.values()}


async def tables(database_url: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ratelimit'")
        return {row["tablename"] for row in rows} - {"alembic_version"}
    finally:
        await connection.close()


async def test_the_schema_goes_up_down_and_up_again_by_several_at_once(postgres_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, postgres_url) for _ in range(2)))
    assert await tables(postgres_url) == TABLES
    await asyncio.to_thread(downgrade, postgres_url, "base")
    assert await tables(postgres_url) == set()
    await asyncio.to_thread(migrate, postgres_url)
    assert await tables(postgres_url) == TABLES


async def test_the_migrations_lead_to_the_tables_the_code_knows(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)

    def differences(connection: Connection) -> list[Any]:
        options = {"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = open_engine(postgres_url, service="test", pool_size=1, command_timeout_s=None)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_beside_auth_services_schema_in_one_database_neither_touches_the_other(postgres_url: str) -> None:
    for each in (migrate, migrate_auth):
        await asyncio.to_thread(each, postgres_url)
    await asyncio.to_thread(downgrade, postgres_url, "base")
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SELECT count(*) FROM auth.user_account") == 0
    await connection.close()


async def test_the_app_role_adds_to_history_and_may_remove_what_is_old_but_not_rewrite_it(postgres_url: str) -> None:
    app = f"app_{new_id().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE ROLE {app} LOGIN PASSWORD 'x'")
    app_url = f"postgresql://{app}:x@{postgres_url.rpartition('@')[2]}"
    await asyncio.to_thread(migrate, postgres_url, app_url)
    connection = await asyncpg.connect(app_url)
    await connection.execute(
        """
        INSERT INTO ratelimit.change (id, at, noun, event, subject, actor, request_id, reason)
        VALUES (gen_random_uuid(), now(), 'plan', 'published', '1', 'ann', 'r', '')
        """
    )
    with pytest.raises(asyncpg.RaiseError, match="what was done is not rewritten"):
        await connection.execute("UPDATE ratelimit.change SET actor = 'bob'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DROP TABLE ratelimit.change")
    assert await connection.fetchval("DELETE FROM ratelimit.change RETURNING actor") == "ann"
    await connection.close()
    await admin.execute(f"DROP OWNED BY {app} CASCADE; DROP ROLE {app}")
    await admin.close()
