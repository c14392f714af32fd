"""A replica gives what may lag and nothing else, and is not missed when it is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from auth_service.adapters.isolation import RoleNotBound
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.ports import AccountFilter
from shared.errors import Unavailable
from shared.postgres import statement
from shared.replica import Replicated
from shared.roles import DatabaseUrls
from tests.auth.auth_store import resolved_key, resolved_session, store_everything
from tests.auth.auth_world import MovableClock, running_world, settings_of

NOWHERE = "postgresql://u:p@127.0.0.1:1/x"


def opened(url: str, replica_url: str | None) -> PostgresDatabase:
    return PostgresDatabase.open(url, asyncio.Event(), service="test", pool_size=2, replica_url=replica_url)


async def test_lists_come_from_the_replica_and_everything_else_from_the_primary(database_url: str, own_database_url: str) -> None:
    """With a replica that lags for ever: another database."""
    async with opened(own_database_url, None) as behind:
        old = await store_everything(behind)
    async with opened(database_url, own_database_url) as database:
        new = await store_everything(database)
        assert [user.id for user in await database.listings.users(AccountFilter(), before=None, limit=100)] == [old.user.id]
        assert await database.lookups.by_login(new.user.username) == new.user
        assert await database.lookups.by_login(old.user.username) is None
        assert await resolved_key(database, new.key.key_sha256) is not None
        assert await resolved_session(database, new.user.id, new.session.id) is not None
        async with database.transaction(new.user.tenant_id) as tx:
            assert await tx.users.by_id(new.user.id) == new.user


async def test_without_an_answer_of_the_replica_the_primary_is_read(own_database_url: str) -> None:
    async with opened(own_database_url, NOWHERE) as database:
        stored = await store_everything(database)
        assert [user.id for user in await database.listings.users(AccountFilter(), before=None, limit=100)] == [stored.user.id]


async def test_a_replica_that_fails_is_left_alone_for_a_while(engine: AsyncEngine) -> None:
    clock = MovableClock()
    asked: list[datetime] = []

    @asynccontextmanager
    async def replica() -> AsyncIterator[AsyncConnection]:
        """Fails with the connection in hand, as one does that cancels what it runs."""
        async with statement(engine, away="away") as connection:
            asked.append(clock.now)
            yield connection
            raise Unavailable("cancelled")

    reads = Replicated(partial(statement, engine, away="away"), replica, clock)
    for _ in range(3):
        assert [dict(row) for row in await reads.fetch(select(literal(1).label("one")), {})] == [{"one": 1}]
    assert len(asked) == 1, "not before each read"
    clock.forward(seconds=10)
    await reads.fetch(select(literal(1)), {})
    assert len(asked) == 2


async def test_one_read_finds_out_whether_a_replica_is_back_and_no_other_waits_for_that(engine: AsyncEngine) -> None:
    """The first time it fails; then its machine says nothing for a while."""
    clock, is_back = MovableClock(), asyncio.Event()
    asked: asyncio.Queue[datetime] = asyncio.Queue()

    @asynccontextmanager
    async def replica() -> AsyncIterator[AsyncConnection]:
        asked.put_nowait(clock.now)
        if clock.now == began:
            raise Unavailable("away")
        await is_back.wait()
        async with statement(engine, away="away") as connection:
            yield connection

    began = clock.now
    read = partial(Replicated(partial(statement, engine, away="away"), replica, clock).fetch, select(literal(1)))
    await read()
    assert asked.get_nowait() == began
    clock.forward(seconds=10)
    first = asyncio.create_task(read())
    await asked.get()
    await asyncio.wait_for(read(), 20)
    assert not first.done()
    is_back.set()
    await first
    await read()
    assert asked.qsize() == 1, "it is asked by all again"


async def test_a_replica_is_shown_among_the_dependencies(own_database_url: str, nats_url: str) -> None:
    for url, state in ((own_database_url, "ok"), (NOWHERE, "failed (ConnectionRefusedError)")):
        async with running_world(settings_of(own_database_url, nats_url, replica_url=url)) as world:
            health = await world.client.get("/health")
            assert (health.status_code, health.json()["dependencies"]["replica"]) == (200, state)


async def test_a_replica_whose_role_is_not_bound_is_refused_as_the_primary_is(own_urls: DatabaseUrls) -> None:
    with pytest.raises(RoleNotBound):
        async with opened(own_urls.app, own_urls.admin):
            pass
