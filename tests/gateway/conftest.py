"""A gateway in this process, on the real Redis and NATS, in front of one origin that stands for every service."""

import os
import socketserver
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.app import create_app
from gateway.settings import Settings
from shared.api_keys import digest, new_api_key
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.book import PLANS_KEY
from shared.limits.plans import parse_plans
from shared.principal import HEADER, Envelope, EnvelopeVerifier, KeyRing
from shared.scopes import SCOPES
from shared.store import open_store
from shared.subjects import BARS_SUBJECTS, MARKET_STREAM, auth_subject, bars_subject
from tests.support.asgi import running
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS

PLANS = """
anonymous_ip: {quota: 50}
tiers:
  tiny: {limits: {day: 3, concurrency: 1}, entitlements: {indicators: [sma], batch_series: 5}}
  many: {limits: {day: 10}, entitlements: {indicators: all, batch_series: 25}}
  wide: {limits: {}, entitlements: {indicators: all, batch_series: 5}}
"""


@dataclass
class Origin:
    """Answers everything with `answer`; keeps what it was asked.

    `people` are the resolve answers by the digest of their key, `resolved` is how often each key was asked for.
    """

    calls: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: list[str] = field(default_factory=list)
    resolves: int = 0
    resolved: Counter[str] = field(default_factory=Counter)
    away: bool = False
    answer: Callable[[Request], Awaitable[Response]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._respond(request))(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.url.path.startswith("/health"):
            return JSONResponse({"status": "ok"})
        if request.url.path == "/.well-known/jwks.json":
            return JSONResponse({"keys": []})
        if request.url.path == "/internal/v1/resolve/batch":
            return await self._resolve(request)
        if request.url.path == "/internal/v1/origins":
            return Response(status_code=503) if self.away else JSONResponse({"origins": self.origins})
        self.calls.append(request)
        self.bodies.append(await request.body())
        return await self.answer(request) if self.answer else JSONResponse({"path": request.url.path})

    async def _resolve(self, request: Request) -> Response:
        self.resolves += 1
        if self.away:
            return Response(status_code=503)
        asked = [one.get("key_sha256") for one in (await request.json())["callers"]]
        self.resolved.update(asked)
        return JSONResponse({"callers": [self.people.get(key) for key in asked]})

    def times_resolved(self, headers: Mapping[str, str]) -> int:
        """How often it was asked whom this key stands for."""
        return self.resolved[digest(headers["X-API-Key"])]

    def envelope(self, service: str) -> Envelope:
        """What the last call was vouched for with."""
        verifier = EnvelopeVerifier(KeyRing.parse(PRINCIPAL_KEYS), service, system_clock)
        return verifier.verify(self.calls[-1].headers[HEADER])

    def new_person(
        self, tier: str, *, scopes: Sequence[str] = SCOPES, allowed_ips: Sequence[str] | None = None, **tenant: Any
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The headers of a new key, and whom it stands for."""
        key = new_api_key(os.urandom)
        person: dict[str, Any] = {
            "user_id": str(new_id()),
            "tenant_id": str(new_id()),
            "tier": tier,
            "roles": [],
            "scopes": scopes,
            "allowed_ips": allowed_ips,
            "session_id": None,
            "key_id": str(new_id()),
            "expires_at": None,
            **tenant,
        }
        self.people[digest(key)] = person
        return {"X-API-Key": key}, person


@pytest.fixture(scope="session", autouse=True)
def metrics_end_at_once() -> Iterator[None]:
    """prometheus_client's server looks every half second whether it is to stop, which each gateway here would wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
        yield


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        await redis.set(PLANS_KEY, parse_plans(PLANS).model_dump_json())
        yield redis


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        await bus.streams.declare(MARKET_STREAM, [BARS_SUBJECTS], max_age_s=0, max_bytes=64 << 20, max_msgs_per_subject=1)
        await bus.streams.declare("KALPI_AUTH", ["kalpi.auth.>"], max_age_s=3600, max_bytes=64 << 20)
        yield bus


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
async def origin_url(origin: Origin) -> AsyncIterator[str]:
    async with serving(origin) as url:
        yield url


def settings_for(url: str, redis_url: str, nats_url: str, **changes: Any) -> Settings:
    urls = {f"{service}_urls": (url,) for service in ("auth", "data", "indicator", "ratelimit")}
    given = {"principal_keys": SecretStr(PRINCIPAL_KEYS), "metrics_port": 0, "redis_url": redis_url, "nats_url": nats_url}
    return Settings(**{**given, **urls, **changes})


@pytest.fixture
def patience_s() -> float:
    """For a service to answer: on a machine that is busy with other things it takes its time."""
    return 20.0


@pytest.fixture
async def gateway(
    redis: Redis, bus: EventBus, origin_url: str, redis_url: str, nats_url: str, patience_s: float
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings_for(origin_url, redis_url, nats_url, upstream_timeout_s=patience_s))) as client:
        yield client


async def until_it_follows(gateway: httpx.AsyncClient, origin: Origin, bus: EventBus) -> None:
    """Waits until this gateway follows what is told of callers: as it begins to, it asks for everybody anew."""
    headers, person = origin.new_person("wide")

    async def was_heard() -> bool:
        await bus.publish(auth_subject("tenant", "updated"), {"tenant_id": person["tenant_id"]})
        await gateway.get("/api/v1/symbols", headers=headers)
        return origin.times_resolved(headers) > 1

    await until(was_heard, what="the gateway follows what is told of callers")
    origin.calls.clear()


@dataclass
class Market:
    """One symbol of a test's own, announced to the gateways, and an origin that answers as its service does."""

    bus: EventBus
    origin: Origin
    symbol: str
    version: str

    async def announce(self, version: str) -> None:
        self.version = version
        await self.bus.publish(bars_subject(self.symbol), {"symbol": self.symbol, "data_version": version, "interval": "1day"})

    async def answer(self, request: Request) -> Response:
        body = orjson.dumps({"version": self.version, "query": str(request.query_params)})
        headers = {"Surrogate-Key": f"bars:{self.symbol}@{self.version}", "ETag": f'"{self.version}"', "Vary": "Accept"}
        return Response(body, headers=headers, media_type="application/json")


@pytest.fixture
async def market(bus: EventBus, origin: Origin) -> Market:
    market = Market(bus, origin, f"T{new_id().hex[:20].upper()}", "")
    origin.answer = market.answer
    await market.announce("v1")
    return market
