"""auth-service running on a migrated database, which the tests of this folder share: each brings its own users.

The database is made as an operator's is: an owner role migrates, and the service has an app role.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.adapters.argon2 import Argon2Hasher
from auth_service.adapters.isolation import require_bound
from auth_service.adapters.postgres import PostgresDatabase
from auth_service.migrate import migrate
from kalpi_local.servers import Servers
from shared.ids import new_id
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from tests.auth.auth_store import Stored, role_urls, store_everything
from tests.auth.auth_world import Person, World, running_world, settings_of
from tests.support.databases import new_database


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, the turn of a password, which comes last there, and an answer of Postgres may
    come later than a client would wait."""
    assert Argon2Hasher.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Argon2Hasher.__init__.__kwdefaults__, "begin_within_s", 60.0)
    monkeypatch.setattr("auth_service.adapters.postgres._COMMAND_S", 20.0)


@contextmanager
def migrated(servers: Servers) -> Iterator[DatabaseUrls]:
    name = f"auth_{new_id().hex}"
    asyncio.run(_administer(servers.database_url, f"CREATE DATABASE {name}"))
    urls = asyncio.run(role_urls(f"{servers.database_url.rpartition('/')[0]}/{name}"))
    migrate(urls.owner, urls.app)
    yield urls
    asyncio.run(_administer(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def urls(servers: Servers) -> Iterator[DatabaseUrls]:
    with migrated(servers) as urls:
        yield urls


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of one that no test connects to: a copy of it costs a fifth of what migrations do."""
    with migrated(servers) as urls:
        yield urls.owner.rpartition("/")[2]


@pytest.fixture(scope="session")
def database_url(urls: DatabaseUrls) -> str:
    """As the service connects."""
    return urls.app


@pytest.fixture(scope="session")
def admin_url(urls: DatabaseUrls) -> str:
    """As a superuser, who sees everybody's rows: for tests that look behind the service."""
    return urls.admin


@pytest.fixture
async def empty_urls(postgres_url: str) -> DatabaseUrls:
    """Of a database that is not migrated, with its roles."""
    return await role_urls(postgres_url)


@pytest.fixture
async def own_urls(servers: Servers, template: str) -> AsyncIterator[DatabaseUrls]:
    """For tests of everything that is in it."""
    async with new_database(servers.database_url, like=template) as url:
        yield await role_urls(url)


@pytest.fixture
async def own_database_url(own_urls: DatabaseUrls) -> str:
    return own_urls.app


@pytest.fixture
async def world(database_url: str, nats_url: str) -> AsyncIterator[World]:
    async with running_world(settings_of(database_url, nats_url)) as world:
        yield world


@pytest.fixture
async def member(world: World) -> Person:
    """Registered and logged in."""
    return await world.member()


@pytest.fixture
def command_timeout_s() -> float:
    return 20.0


@pytest.fixture
async def engine(database_url: str, command_timeout_s: float) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url, service="test", pool_size=5, command_timeout_s=command_timeout_s, accept=require_bound)
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(engine: AsyncEngine) -> PostgresDatabase:
    return PostgresDatabase(engine, asyncio.Event())


@pytest.fixture
async def stored(database: PostgresDatabase) -> Stored:
    return await store_everything(database)


async def _administer(admin_url: str, statement: str) -> None:
    connection = await asyncpg.connect(admin_url)
    await connection.execute(statement)
    await connection.close()
