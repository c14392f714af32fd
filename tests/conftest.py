"""One embedded Postgres, Valkey and NATS for the whole run, on free ports; each test brings its own names."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from kalpi_local.servers import Servers, embedded_servers
from shared.ids import new_id

# a busy machine is no fault of the code: neither a deadline nor a limit on how long examples take to make
settings.register_profile("kalpi", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kalpi")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The three servers, without durability: nothing outlives the run."""
    with tempfile.TemporaryDirectory(prefix="kalpi-") as folder, asyncio.Runner() as runner:
        context = embedded_servers(Path(folder), durable=False)
        running = runner.run(context.__aenter__())
        try:
            yield running
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture(scope="session")
def nats_url(servers: Servers) -> str:
    return servers.nats_url


@pytest.fixture
async def postgres_url(servers: Servers) -> AsyncIterator[str]:
    """A new empty database for this test."""
    name = f"test_{new_id().hex}"
    admin = await asyncpg.connect(servers.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    yield f"{servers.database_url.rpartition('/')[0]}/{name}"
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
