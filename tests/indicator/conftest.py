"""indicator-service as an app on a migrated database that the tests share, with the real data-service behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import httpx
import orjson
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from data_service.app import create_app as create_data_service
from data_service.settings import Settings as DataSettings
from indicator_service.adapters import kept_results
from indicator_service.app import NAME, create_app
from indicator_service.domain.ports import BarSource
from indicator_service.domain.series import Bars
from indicator_service.migrate import migrate
from indicator_service.settings import Settings
from kalpi_local.servers import Servers
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from shared.limits.plans import Entitlements, parse_plans
from shared.store import open_store
from tests.indicator.people import Person
from tests.support.asgi import Answer, ask, running
from tests.support.http_server import serving
from tests.support.principals import ALL, PRINCIPAL_KEYS, Vouched, headers_for, user

PLANS = """
anonymous_ip: {quota: 50}
tiers:
  free: {limits: {}, entitlements: {indicators: [sma, ema], history_days: 90, batch_series: 5}}
  pro: {limits: {}, entitlements: {indicators: [sma, ema, rsi, macd], history_days: 365, batch_series: 5}}
  premium: {limits: {}, entitlements: {indicators: all, batch_series: 5}}
  expert: {limits: {}, entitlements: {indicators: all, batch_series: 5, features: [patterns, expressions, custom_indicators]}}
"""


class Counted:
    """Counts the calls to an app, by path and status."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.calls: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                self.calls.append((scope["path"], int(str(message["status"]))))
            await send(message)

        await self._app(scope, receive, watched)  # type: ignore[arg-type]  # a message is a mutable mapping


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, what the tests ask for may take longer than a client would wait: the Postgres
    its second, and the store the tenth of one after which nothing is kept in it."""
    monkeypatch.setattr("indicator_service.app._POSTGRES_S", 20.0)
    monkeypatch.setattr(kept_results, "_DEADLINE_S", 20.0)


@pytest.fixture
def free() -> dict[str, str]:
    """A free user, vouched for now: a signature holds for 30 s."""
    return headers_for(user("free"), NAME, Entitlements(indicators=("sma", "ema"), history_days=90, batch_series=5))


@pytest.fixture(scope="session")
def database_url(servers: Servers) -> str:
    name = f"indicator_{new_id().hex}"
    asyncio.run(_create(servers.database_url, name))
    url = f"{servers.database_url.rpartition('/')[0]}/{name}"
    migrate(url)
    return url


async def _create(admin_url: str, name: str) -> None:
    connection = await asyncpg.connect(admin_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


@pytest.fixture
async def data_service(tmp_path: Path, redis_url: str, nats_url: str) -> AsyncIterator[tuple[Counted, str]]:
    settings = DataSettings(
        principal_keys=SecretStr(PRINCIPAL_KEYS), state_dir=tmp_path, redis_url=SecretStr(redis_url), nats_url=SecretStr(nats_url)
    )
    counted = Counted(create_data_service(settings))
    async with serving(counted) as url:
        yield counted, url


@pytest.fixture
async def settings(data_service: tuple[Counted, str], database_url: str, redis_url: str, nats_url: str) -> Settings:
    async with open_store(redis_url) as redis:
        await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
    return Settings(
        principal_keys=SecretStr(PRINCIPAL_KEYS),
        data_urls=(data_service[1],),
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        nats_url=SecretStr(nats_url),
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """As a premium user whose plan has everything."""
    async with running(app, Vouched(user("premium"), NAME)) as client:
        yield client


@pytest.fixture
def ann(client: httpx.AsyncClient) -> Person:
    return Person(client)


@pytest.fixture
def bob(client: httpx.AsyncClient) -> Person:
    return Person(client)


class Fetched:
    """Bars asked for once: they stay as they are, and asking whether they do takes longer than computing on them."""

    def __init__(self, source: BarSource) -> None:
        self._source, self._known = source, dict[tuple[object, ...], Bars]()
        self.many, self.versions = source.many, source.versions

    async def bars(self, symbol: str, interval: str, adjustment: str, as_of: date | None = None) -> Bars:
        key = symbol, interval, adjustment, as_of
        if key not in self._known:
            self._known[key] = await self._source.bars(*key)
        return self._known[key]


Asking = Callable[..., Awaitable[Answer]]
Answering = Callable[..., Awaitable[bytes]]


@pytest.fixture
async def asking(app: FastAPI) -> AsyncIterator[Asking]:
    """Asks the running service, as somebody who may have everything, without a client in between: for thousands of questions."""
    everything = ALL.model_copy(update={"batch_series": 5_000})
    premium = user("premium")
    async with LifespanManager(app):
        app.state.source = Fetched(app.state.source)

        async def asked(method: str, path: str, query: Mapping[str, object] | None = None, body: object = None) -> Answer:
            # vouched for anew: a signature holds for 30 s
            headers = headers_for(premium, NAME, everything)
            content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
            return await ask(app, method, f"/api/v1/{path}", urlencode(query or {}), headers=headers, content=content)

        yield asked


@pytest.fixture
def answer_of(asking: Asking) -> Answering:
    """The bytes of an answer where there is one."""

    async def answered(*asked: object) -> bytes:
        answer = await asking(*asked)
        assert answer.status == 200, answer.content
        return answer.content

    return answered
