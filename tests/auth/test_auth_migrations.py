"""The schema: up, down, up again, by two at once, and with no more rights than its owner has."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from auth_service.adapters.signing_keys import signing_key
from auth_service.adapters.tables import SCHEMA, metadata
from auth_service.migrate import downgrade, migrate
from shared.postgres import open_engine
from shared.roles import DatabaseUrls

TABLES = {"tenant", "user_account", "api_key", "session", "refresh_token", "login_failure", "audit_event", "signing_key"}


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


async def test_the_migrations_lead_to_the_tables_the_code_knows(own_urls: DatabaseUrls) -> None:
    assert signing_key.metadata is metadata, "a table of its own module is compared as well"

    def differences(connection: Connection) -> list[Any]:
        options = {"include_schemas": True, "version_table_schema": SCHEMA, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    engine = open_engine(own_urls.owner, service="test", pool_size=1, command_timeout_s=None)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_everything_of_alembic_lies_in_the_schema_too(own_database_url: str) -> None:
    connection = await asyncpg.connect(own_database_url)
    assert await connection.fetchval("SELECT version_num FROM auth.alembic_version") == "0003"
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_the_owner_of_the_schema_needs_no_other_right_and_the_app_role_can_use_it(empty_urls: DatabaseUrls) -> None:
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    assert await tables(empty_urls.owner) == TABLES
    connection = await asyncpg.connect(empty_urls.app)
    for statement in ("CREATE TABLE auth.mine (id int)", "DELETE FROM auth.alembic_version", "TRUNCATE auth.audit_event"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()
    with pytest.raises(DBAPIError):
        await asyncio.to_thread(downgrade, empty_urls.app, "base")
    assert await tables(empty_urls.owner) == TABLES


async def test_an_app_role_that_is_named_later_is_given_what_is_there(empty_urls: DatabaseUrls) -> None:
    await asyncio.to_thread(migrate, empty_urls.owner)
    connection = await asyncpg.connect(empty_urls.app)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM auth.user_account")
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    assert await connection.fetch("SELECT * FROM auth.user_account") == []
    await connection.close()
