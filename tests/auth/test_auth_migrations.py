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
from auth_service.migrations.versions import v0005_api_keys, v0009_sweeping
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from shared.scopes import scopes_of
from tests.support.poll import until

TABLES = {
    *("tenant", "user_account", "api_key", "api_key_use", "session", "refresh_token", "signing_key"),
    *("throttle", "known_network", "one_time_token", "mail"),
    *("audit_event", "audit_relay", "audit_head"),
}

BEFORE_SCOPES = v0005_api_keys.down_revision
BEFORE_SWEEPING = v0009_sweeping.down_revision


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
    assert await connection.fetchval("SELECT version_num FROM auth.alembic_version") == "0011"
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


async def test_rows_of_the_first_revision_are_given_their_tenants_and_go_back_as_they_were(empty_urls: DatabaseUrls) -> None:
    """As the owner, whom the policies bind once they are there."""
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    await asyncio.to_thread(downgrade, empty_urls.owner, "0001")
    admin = await asyncpg.connect(empty_urls.admin)
    await admin.execute(FIRST_ROWS)
    before = await rows(admin)
    for _ in range(2):
        await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
        after = await rows(admin)
        for table, expected in before.items():
            if table in FORGOTTEN:
                continue
            kept = [row for row in after[table] if row.get("event") != "recorded"]
            assert [{name: row[name] for name in expected[0]} for row in kept] == expected, table
        recorded = sorted(row["noun"] for row in after["audit_event"] if row["event"] == "recorded")
        assert recorded == ["key"] * 4 + ["tenant"] * 2 + ["user"] * 2, (
            "from here on the trail tells of them, of keys a second time for what they may be used for"
        )
        of_user = {row["id"]: row["tenant_id"] for row in after["user_account"]}
        of_session = {row["id"]: of_user[row["user_id"]] for row in after["session"]}
        assert len(set(of_user.values())) == 2
        for row in after["api_key"] + after["session"]:
            assert row["tenant_id"] == of_user[row["user_id"]]
        for row in after["refresh_token"]:
            assert row["tenant_id"] == of_session[row["session_id"]]
        settings = {(row["personal"], row["tier"], row["quota"], row["is_active"]) for row in after["tenant"]}
        assert settings == {(True, None, "split", True)}
        assert {row["tenant_role"] for row in after["user_account"]} == {"owner"}
        await asyncio.to_thread(downgrade, empty_urls.owner, "0001")
        assert await rows(admin) == before | FORGOTTEN
    assert await admin.fetch("SELECT 1 FROM pg_policy WHERE polrelid::regclass::text LIKE 'auth.%'") == []
    assert await admin.fetch("SELECT 1 FROM pg_proc WHERE pronamespace = 'auth'::regnamespace") == []
    await admin.close()


FORGOTTEN: dict[str, list[dict[str, Any]]] = {"login_failure": []}
"""Failed logins are an hour old at most, and counted anew by another rule."""
FIRST_ROWS = """
    INSERT INTO auth.tenant SELECT gen_random_uuid(), 'tenant of ' || n, now() FROM generate_series(1, 2) n;
    INSERT INTO auth.user_account
        SELECT gen_random_uuid(), id, name, name || '@example.com', 'hash', 'free', '{}', true, now(), now() FROM auth.tenant;
    INSERT INTO auth.api_key
        SELECT gen_random_uuid(), id, 'key', 'digest of ' || username, '…', now(), NULL, NULL FROM auth.user_account;
    INSERT INTO auth.session SELECT gen_random_uuid(), id, now(), now(), NULL FROM auth.user_account, generate_series(1, 2);
    INSERT INTO auth.refresh_token SELECT gen_random_uuid(), id, 'token of ' || id, now(), NULL FROM auth.session;
    INSERT INTO auth.login_failure VALUES ('digest', 3, now());
    INSERT INTO auth.audit_event (id, seq, occurred_at, noun, event, request_id, user_id, tenant_id, details)
        SELECT gen_random_uuid(), NULL, now(), 'user', 'registered', '', id, tenant_id, '{}' FROM auth.user_account
"""


async def rows(connection: asyncpg.Connection) -> dict[str, list[dict[str, Any]]]:
    """Of the tables that this revision has."""
    known = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'auth' AND tablename <> 'alembic_version'")
    names = sorted(row["tablename"] for row in known)
    found = {table: await connection.fetch(f"SELECT * FROM auth.{table} ORDER BY 1") for table in names}  # noqa: S608
    return {table: [dict(row) for row in records] for table, records in found.items()}


async def test_an_app_role_that_is_named_later_is_given_what_is_there(empty_urls: DatabaseUrls) -> None:
    await asyncio.to_thread(migrate, empty_urls.owner)
    connection = await asyncpg.connect(empty_urls.app)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM auth.user_account")
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    assert await connection.fetch("SELECT * FROM auth.user_account") == []
    await connection.close()


async def test_sessions_are_read_while_the_indexes_of_sweeping_are_made(own_urls: DatabaseUrls) -> None:
    """Of large tables that takes long, and every gateway asks."""
    await asyncio.to_thread(downgrade, own_urls.owner, BEFORE_SWEEPING)
    writer, reader = await asyncpg.connect(own_urls.admin), await asyncpg.connect(own_urls.app)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("LOCK TABLE auth.known_network IN ROW EXCLUSIVE MODE")  # the last index is not made before it ends
    migrating = asyncio.create_task(asyncio.to_thread(migrate, own_urls.owner, own_urls.app))

    async def waits() -> bool:
        index = "SELECT count(*) FROM pg_locks WHERE relation = 'auth.known_network'::regclass AND NOT granted"
        return bool(await reader.fetchval(index))

    try:
        await until(waits, what="the migration waits for the writer")
        await reader.execute("SET lock_timeout = '2s'")
        for table in ("session", "refresh_token", "api_key", "one_time_token", "known_network"):
            assert await reader.fetch(f"SELECT FROM auth.{table}") == []
    finally:
        await transaction.rollback()
        await migrating
        for connection in (writer, reader):
            await connection.close()


async def test_a_key_made_before_scopes_may_still_do_all_that_its_user_may(empty_urls: DatabaseUrls) -> None:
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    await asyncio.to_thread(downgrade, empty_urls.owner, BEFORE_SCOPES)
    connection = await asyncpg.connect(empty_urls.admin)
    await connection.execute(
        """
        WITH t AS (INSERT INTO auth.tenant VALUES (gen_random_uuid(), 't', now(), true, NULL, 'split', '{}', true) RETURNING id),
        u AS (
            INSERT INTO auth.user_account
            SELECT gen_random_uuid(), t.id, name, name || '@example.com', '', 'pro', roles, true, now(), now(), 'owner'
            FROM t, (VALUES ('ann', '{}'::text[]), ('root', '{admin}')) AS people (name, roles) RETURNING id, tenant_id, username
        )
        INSERT INTO auth.api_key (id, tenant_id, user_id, name, key_sha256, key_hint, created_at)
        SELECT gen_random_uuid(), u.tenant_id, u.id, u.username, u.username, '', now() FROM u
        """
    )
    await asyncio.to_thread(migrate, empty_urls.owner, empty_urls.app)
    scopes = {row["name"]: tuple(row["scopes"]) for row in await connection.fetch("SELECT name, scopes FROM auth.api_key")}
    await connection.close()
    assert scopes == {"ann": scopes_of([]), "root": scopes_of(["admin"])}
