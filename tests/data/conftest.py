"""The data-service app on the shipped sample, with plans published and a user of each kind."""

from collections.abc import AsyncIterator
from multiprocessing import forkserver
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from data_service.app import NAME, create_app
from data_service.settings import Settings
from shared.limits.plans import Entitlements
from tests.support.asgi import running
from tests.support.principals import PRINCIPAL_KEYS, Vouched, headers_for, user


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """What the processes that tests start, and the readers of Parquet, are forked from: it imports for all of them, once."""
    forkserver.set_forkserver_preload(
        ["tests.data.dataset_child", "tests.data.test_data_import_child", "data_service.adapters.parquet_apart"]
    )
    forkserver.ensure_running()


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, nats_url: str) -> Settings:
    return Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        state_dir=tmp_path,
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """As a premium user."""
    async with running(create_app(settings), Vouched(user("premium"), NAME)) as client:
        yield client


@pytest.fixture
def pro() -> dict[str, str]:
    """A user who sees 365 days."""
    entitlements = Entitlements(indicators=("sma",), history_days=365, batch_series=5)
    return headers_for(user("pro"), NAME, entitlements)
