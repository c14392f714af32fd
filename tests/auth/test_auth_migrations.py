"""The schema: up, down, up again, by two at once, and with no more rights than its owner has."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from auth_service.adapters.tables import SCHEMA, metadata
from auth_service.migrate import downgrade, migrate
from shared.ids import new_id
from shared.postgres import open_engine

TABLES = {"tenant", "user_account", "api_key", "session", "refresh_token", "login_failure", "audit_event"}


async def tables(database_url: str) -> set[str]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'")
        return {row["tablename"] for row in rows} - {"alembic_version"}
    finally:
        await connection.close()


async def test_the_schema_goes_up_down_and_up_again(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)
    assert await tables(postgres_url) == TABLES
    await asyncio.to_thread(downgrade, postgres_url, "base")
    assert await tables(postgres_url) == set()
    for _ in range(2):
        await asyncio.to_thread(migrate, postgres_url)
        assert await tables(postgres_url) == TABLES


async def test_several_migrations_at_once_are_as_good_as_one(postgres_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, postgres_url) for _ in range(4)))
    assert await tables(postgres_url) == TABLES


async def test_the_migrations_lead_to_the_tables_the_code_knows(own_database_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    engine = open_engine(own_database_url, service="test", pool_size=1, command_timeout_s=None)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_everything_of_alembic_lies_in_the_schema_too(own_database_url: str) -> None:
    connection = await asyncpg.connect(own_database_url)
    assert await connection.fetchval("SELECT version_num FROM auth.alembic_version") == "0002"
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_the_owner_of_the_schema_needs_no_other_right_and_the_app_role_can_use_it(postgres_url: str) -> None:
    owner, app = f"owner_{new_id().hex}", f"app_{new_id().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(
        f"""
        CREATE ROLE {owner} LOGIN PASSWORD 'x'; CREATE ROLE {app} LOGIN PASSWORD 'x';
        CREATE SCHEMA auth AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA auth TO {app};
        ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA auth GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};
        ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA auth GRANT USAGE ON SEQUENCES TO {app};
        """
    )
    await asyncio.to_thread(migrate, as_role(postgres_url, owner))
    assert await tables(postgres_url) == TABLES
    connection = await asyncpg.connect(as_role(postgres_url, app))
    await connection.execute(
        """
        INSERT INTO auth.audit_event (id, occurred_at, noun, event, request_id, user_id, tenant_id, details)
        VALUES (gen_random_uuid(), now(), 'user', 'registered', '', gen_random_uuid(), gen_random_uuid(), '{}')
        """
    )
    assert await connection.fetchval("DELETE FROM auth.audit_event RETURNING recorded") == 1
    await connection.close()
    with pytest.raises(DBAPIError):
        await asyncio.to_thread(downgrade, as_role(postgres_url, app), "base")
    assert await tables(postgres_url) == TABLES
    for role in (app, owner):
        await admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    await admin.close()


def as_role(database_url: str, role: str) -> str:
    return f"postgresql://{role}:x@{database_url.rpartition('@')[2]}"
