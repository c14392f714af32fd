"""The schema of indicator-service: up, down and up again, as the code knows it, and with no more rights than it needs."""

import asyncio
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from auth_service.migrate import migrate as migrate_auth
from indicator_service.adapters.tables import SCHEMA, metadata
from indicator_service.migrate import downgrade, migrate
from shared.ids import new_id
from shared.postgres import open_engine

TABLES = {"custom_indicator", "custom_indicator_version"}


async def tables(database_url: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'indicator'")
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


async def test_the_migrations_lead_to_the_tables_the_code_knows(database_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    engine = open_engine(database_url, service="test", pool_size=1, command_timeout_s=None)
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


async def test_the_app_role_can_use_the_tables_and_not_change_them(postgres_url: str) -> None:
    app = f"app_{new_id().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(
        f"""
        CREATE ROLE {app} LOGIN PASSWORD 'x'; CREATE SCHEMA indicator; GRANT USAGE ON SCHEMA indicator TO {app};
        ALTER DEFAULT PRIVILEGES IN SCHEMA indicator GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};
        """
    )
    await asyncio.to_thread(migrate, postgres_url)
    connection = await asyncpg.connect(f"postgresql://{app}:x@{postgres_url.rpartition('@')[2]}")
    await connection.execute(
        """
        INSERT INTO indicator.custom_indicator (id, user_id, name, description, version, created_at, updated_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), 'mine', '', 1, now(), now())
        """
    )
    assert await connection.fetchval("DELETE FROM indicator.custom_indicator RETURNING name") == "mine"
    refused = False
    try:
        await connection.execute("DROP TABLE indicator.custom_indicator")
    except asyncpg.InsufficientPrivilegeError:
        refused = True
    assert refused
    await connection.close()
    await admin.execute(f"DROP OWNED BY {app} CASCADE; DROP ROLE {app}")
    await admin.close()


async def test_what_was_saved_in_a_tenant_is_the_users_from_then_on(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)
    await asyncio.to_thread(downgrade, postgres_url, "0001")
    connection = await asyncpg.connect(postgres_url)
    user_id = new_id()
    await connection.execute(
        """
        INSERT INTO indicator.custom_indicator (id, tenant_id, user_id, name, description, version, created_at, updated_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), $1, 'mine', '', 1, now(), now())
        """,
        user_id,
    )
    await asyncio.to_thread(migrate, postgres_url)
    rows = await connection.fetch("SELECT * FROM indicator.custom_indicator")
    await connection.close()
    assert [(row["user_id"], row["name"], "tenant_id" in row.keys()) for row in rows] == [(user_id, "mine", False)]  # noqa: SIM118
