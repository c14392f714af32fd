"""A database that is away, slow or in the way is a 503, heals by itself, and is never mistaken for a mistake of ours."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.model import ApiKey
from auth_service.migrate import downgrade, migrate
from auth_service.migrations.versions import v0010_refresh_pace
from shared.errors import Unavailable
from shared.ids import new_id
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from tests.auth.auth_store import Stored, save, store_everything
from tests.auth.auth_world import running_world, settings_of
from tests.support.poll import until

BEFORE_A_COLUMN = v0010_refresh_pace.down_revision


async def test_connections_the_server_has_closed_are_replaced_unnoticed(
    database: PostgresDatabase, engine: AsyncEngine, stored: Stored, admin_url: str
) -> None:
    async with engine.connect() as one, engine.connect() as two:
        idle: list[Any] = [(await connection.get_raw_connection()).driver_connection for connection in (one, two)]
    admin = await asyncpg.connect(admin_url)
    for connection in idle:
        await admin.execute("SELECT pg_terminate_backend($1, 5000)", connection.get_server_pid())
    await admin.close()

    async def closed() -> bool:
        return all(connection.is_closed() for connection in idle)

    await until(closed, what="the end of both connections")
    for _ in range(5):
        async with database.transaction(stored.user.tenant_id) as tx:
            assert await tx.users.by_id(stored.user.id) == stored.user
        assert await database.lookups.by_login(stored.user.username) == stored.user


async def test_a_server_that_goes_away_in_the_middle_is_unavailable(
    database: PostgresDatabase, stored: Stored, admin_url: str
) -> None:
    with pytest.raises(Unavailable):
        await lose_the_connection(database, stored, admin_url)
    async with database.transaction(stored.user.tenant_id) as tx:
        assert await tx.users.by_id(stored.user.id) == stored.user


async def lose_the_connection(database: PostgresDatabase, stored: Stored, admin_url: str) -> None:
    admin = await asyncpg.connect(admin_url)
    try:
        async with database.transaction(stored.user.tenant_id) as tx:
            await tx.users.by_id(stored.user.id)
            pid = await admin.fetchval("SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'")
            await admin.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await tx.users.lock(stored.user.id)
    finally:
        await admin.close()


@pytest.mark.parametrize("command_timeout_s", [1.0])
async def test_a_statement_that_takes_too_long_is_unavailable(database: PostgresDatabase, stored: Stored) -> None:
    async with database.transaction(stored.user.tenant_id) as tx:
        await tx.users.lock(stored.user.id)
        with pytest.raises(Unavailable):
            await save(database, stored.user)


async def test_a_deadlock_is_unavailable_for_one_of_the_two(database_url: str) -> None:
    engine = open_engine(database_url, service="test", pool_size=2, command_timeout_s=5)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        stored = await store_everything(database)
        met = asyncio.Barrier(2)

        async def lock(*, user_first: bool) -> None:
            async with database.transaction(stored.user.tenant_id) as tx:
                if user_first:
                    await tx.users.lock(stored.user.id)
                    await met.wait()
                    await tx.sessions.lock_family(stored.token.token_sha256)
                else:
                    await tx.sessions.lock_family(stored.token.token_sha256)
                    await met.wait()
                    await tx.users.lock(stored.user.id)

        outcomes = await asyncio.gather(lock(user_first=True), lock(user_first=False), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Unavailable"]


@pytest.mark.parametrize("fault", ["nobody listens", "no such database", "wrong password", "not migrated", "no rights"])
async def test_a_database_that_cannot_be_used_is_unavailable(empty_urls: DatabaseUrls, fault: str) -> None:
    user, _, place = empty_urls.app.removeprefix("postgresql://").rpartition("@")
    url = {
        "nobody listens": "postgresql://u:p@127.0.0.1:1/x",
        "no such database": f"{empty_urls.app}_not",
        "wrong password": f"postgresql://{user}x@{place}",
        "not migrated": empty_urls.app,
        "no rights": empty_urls.app,
    }[fault]
    if fault == "no rights":
        await asyncio.to_thread(migrate, empty_urls.owner)
    async with PostgresDatabase.open(url, asyncio.Event(), service="test", pool_size=1) as database:
        for use in (save_nobody, look_for_nobody, take_nothing):
            with pytest.raises(Unavailable):
                await use(database)


async def test_a_schema_of_the_release_before_is_one_that_is_away_until_it_is_migrated(
    own_urls: DatabaseUrls, nats_url: str
) -> None:
    async with running_world(settings_of(own_urls.app, nats_url)) as world:
        member = await world.member()
        await asyncio.to_thread(downgrade, own_urls.owner, BEFORE_A_COLUMN)
        answers = [await world.refresh(member.refresh_token), await world.try_login(member.name)]
        assert [answer.status_code for answer in answers] == [503, 503]
        await asyncio.to_thread(migrate, own_urls.owner, own_urls.app)
        assert (await world.refresh(member.refresh_token)).status_code == 200


async def save_nobody(database: PostgresDatabase) -> None:
    async with database.transaction(new_id()) as tx:
        await tx.users.by_id(new_id())


async def look_for_nobody(database: PostgresDatabase) -> None:
    await database.lookups.by_login("nobody")


async def take_nothing(database: PostgresDatabase) -> None:
    async with database.outbox() as outbox:
        await outbox.unsealed(1)


async def test_a_mistake_of_ours_is_not_called_unavailable_and_shows_no_parameters(
    database: PostgresDatabase, stored: Stored
) -> None:
    key = replace(stored.key, id=new_id(), key_hint="a-secret-hint")
    with pytest.raises(Exception, match="duplicate key") as raised:
        await add_key(database, key)
    assert not isinstance(raised.value, Unavailable)
    assert "a-secret-hint" not in str(raised.value)


async def test_what_a_policy_refuses_is_a_mistake_of_ours_too(database: PostgresDatabase, stored: Stored) -> None:
    """Postgres has one code for it and for a right that was not granted yet."""
    key = replace(stored.key, id=new_id())
    with pytest.raises(Exception, match="row-level security") as raised:
        async with database.transaction(new_id()) as tx:
            await tx.api_keys.add(key)
    assert not isinstance(raised.value, Unavailable)


async def add_key(database: PostgresDatabase, key: ApiKey) -> None:
    async with database.transaction(key.tenant_id) as tx:
        await tx.api_keys.add(key)
