"""auth-service running on a migrated database, which the tests of this folder share: each brings its own users."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.migrate import migrate
from kalpi_local.servers import Servers
from shared.ids import new_id
from shared.postgres import open_engine
from tests.auth.auth_store import Stored, store_everything
from tests.auth.auth_world import Person, World, running_world, settings_of


@pytest.fixture(scope="session")
def database_url(servers: Servers) -> str:
    name = f"auth_{new_id().hex}"
    asyncio.run(_create(servers.database_url, name))
    url = f"{servers.database_url.rpartition('/')[0]}/{name}"
    migrate(url)
    return url


@pytest.fixture
async def own_database_url(postgres_url: str) -> str:
    """For tests of everything that is in it."""
    await asyncio.to_thread(migrate, postgres_url)
    return postgres_url


@pytest.fixture
async def world(database_url: str, nats_url: str) -> AsyncIterator[World]:
    async with running_world(settings_of(database_url, nats_url)) as world:
        yield world


@pytest.fixture
async def member(world: World) -> Person:
    """Registered and logged in."""
    return await world.member()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url, service="test", pool_size=5, command_timeout_s=0.5)
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(engine: AsyncEngine) -> PostgresDatabase:
    return PostgresDatabase(engine, asyncio.Event())


@pytest.fixture
async def stored(database: PostgresDatabase) -> Stored:
    return await store_everything(database)


async def _create(admin_url: str, name: str) -> None:
    connection = await asyncpg.connect(admin_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
