"""ratelimit-service as an app on a migrated database of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from ratelimit_service.migrate import migrate
from ratelimit_service.settings import Settings
from shared.store import open_store
from tests.support.principals import PRINCIPAL_KEYS

MakeSettings = Callable[..., Settings]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        yield redis


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, the Postgres of the tests may take longer than it is given."""
    monkeypatch.setattr("ratelimit_service.app._POSTGRES_S", 10.0)


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    await asyncio.to_thread(migrate, postgres_url)
    return postgres_url


@pytest.fixture
def settings_of(database_url: str, redis_url: str, nats_url: str) -> MakeSettings:
    """Of a plan file, or of the shipped one."""

    def made(path: Path | None = None, *, database_url: str = database_url) -> Settings:
        return Settings(
            principal_keys=SecretStr(PRINCIPAL_KEYS),
            plans_path=path,
            plans_look_s=0.02,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(redis_url),
            nats_url=SecretStr(nats_url),
        )

    return made
