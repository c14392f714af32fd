"""ratelimit-service as an app on a migrated database of the test's own, asked by an administrator."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from kalpi_local.servers import Servers
from ratelimit_service.adapters.plans import FilePlans, PublishedPlans
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.app import NAME, create_app
from ratelimit_service.domain.control import PlanControl
from ratelimit_service.domain.publishing import Publishing
from ratelimit_service.domain.versions import Recorder
from ratelimit_service.settings import Settings
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY, PlanWatcher
from shared.limits.plans import PlanBook
from shared.principal import HEADER, EnvelopeSigner, KeyRing
from shared.store import open_store
from tests.ratelimit.databases import emptied, partitioned_database
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS, user

MakeSettings = Callable[..., Settings]
SMALL = """
anonymous_ip: {quota: 50}
tiers:
  free: {limits: {day: 10, concurrency: 2}, entitlements: {indicators: [sma], history_days: 90, batch_series: 5}}
"""


def plans_with(day: int) -> str:
    return SMALL.replace("day: 10", f"day: {day}")


def day_of(book: PlanBook) -> int:
    """What tells the books of these tests apart."""
    return int(book.model_dump(mode="json")["tiers"]["free"]["limits"]["day"])


class OwnFile:
    """A plan file of the operator's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.says(SMALL)

    def says(self, text: str) -> None:
        self.path.write_text(text)


@pytest.fixture
def plans(tmp_path: Path) -> OwnFile:
    return OwnFile(tmp_path / "plans.yaml")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        await redis.delete(PLANS_KEY)
        yield redis


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, the Postgres of the tests may take longer than it is given."""
    monkeypatch.setattr("ratelimit_service.app._POSTGRES_S", 20.0)
    monkeypatch.setattr("ratelimit_service.app._READING_S", 20.0)


@pytest.fixture(scope="session")
def partitioned_url(servers: Servers) -> Iterator[str]:
    with partitioned_database(servers, system_clock().date()) as url:
        yield url


@pytest.fixture
async def database_url(partitioned_url: str) -> str:
    return await emptied(partitioned_url)


@pytest.fixture
def settings_of(database_url: str, redis_url: str, nats_url: str) -> MakeSettings:
    """Of a plan file, or of the shipped one."""

    def made(file: OwnFile | None = None, *, look_s: float = 0.02, database_url: str = database_url) -> Settings:
        return Settings(
            principal_keys=SecretStr(PRINCIPAL_KEYS),
            plans_path=file.path if file is not None else None,
            plans_look_s=look_s,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(redis_url),
            nats_url=SecretStr(nats_url),
        )

    return made


class Administrator:
    """Asks the running service; what is refused is an answer like any other."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock) -> None:
        self.client = client
        self._signer = EnvelopeSigner(KeyRing.parse(PRINCIPAL_KEYS), clock)
        self.principal = user("enterprise", roles=("admin",))

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        # vouched for anew: a signature holds for 30 s
        headers = {HEADER: self._signer.sign(self.principal, audience=NAME, client_ip="127.0.0.1")}
        return await self.client.request(method, f"/api/v1/admin/{path}", json=body, params=query, headers=headers)

    async def told(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = await self.ask(method, path, body, **query)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def publish(self, text: str, replaces: int, reason: str = "") -> httpx.Response:
        return await self.ask("PUT", "plans", {"text": text, "replaces": replaces, "reason": reason})

    async def restore(self, version: int, replaces: int) -> httpx.Response:
        return await self.ask("POST", "plans/rollback", {"version": version, "replaces": replaces})

    async def history(self) -> list[Mapping[str, Any]]:
        return list((await self.told("GET", "plans/history"))["data"])


@asynccontextmanager
async def serving(settings: Settings, *, clock: Clock = system_clock) -> AsyncIterator[Administrator]:
    async with running(create_app(settings, clock=clock)) as client:
        yield Administrator(client, clock)


@dataclass
class Parts:
    """What the service is wired of, to take one step at a time."""

    database: PostgresDatabase
    published: PublishedPlans
    control: PlanControl
    publishing: Publishing
    changed: asyncio.Event


@asynccontextmanager
async def parts_of(settings: Settings, redis: Redis, bus: EventBus, *, clock: Clock = system_clock) -> AsyncIterator[Parts]:
    url = settings.database_url.get_secret_value()
    recorder, changed, watcher = Recorder(clock, new_id), asyncio.Event(), PlanWatcher(redis)
    published = PublishedPlans(redis, bus)
    await published.declare()
    async with PostgresDatabase(url, service=NAME, pool_size=2, within_s=10) as database:
        control = PlanControl(FilePlans(settings.plans_path), database, published, watcher, recorder)
        yield Parts(database, published, control, Publishing(database, watcher, recorder, changed), changed)


@asynccontextmanager
async def gateways(redis: Redis, bus: EventBus, count: int = 2) -> AsyncIterator[list[PlanWatcher]]:
    """What each gateway knows of the plans."""
    watchers = [PlanWatcher(redis) for _ in range(count)]
    for watcher in watchers:
        await watcher.start(bus)
    yield watchers


async def enforced(watchers: list[PlanWatcher], holds: Callable[[PlanBook], bool], what: str = "the plans") -> None:
    """Waits until it holds of what every gateway knows."""

    async def known() -> bool:
        try:
            return all(holds(watcher.book) for watcher in watchers)
        except Unavailable:
            return False

    await until(known, every_s=0.005, what=what)
