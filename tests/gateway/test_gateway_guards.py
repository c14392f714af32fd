"""What an address may try at the auth routes, and that nobody else pays for it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv6Address

import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.app import create_app
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from shared.limits.plans import PlanBook, parse_plans
from tests.gateway.conftest import PLANS, Origin, settings_for
from tests.support.asgi import running

SYMBOLS = "/api/v1/symbols"
LOGIN, REGISTER, FORGOT = (f"/api/v1/auth/{name}" for name in ("login", "register", "password/forgot"))


@pytest.fixture
async def watchful(
    origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway behind a trusted proxy, with three of everything."""
    guard = {"quota": 3, "window_s": 600}
    plans = parse_plans(PLANS).model_dump()
    book = {**plans, "auth": {"failed_logins": guard, "registrations": guard, "mails": guard}}
    await redis.set(PLANS_KEY, PlanBook.model_validate(book).model_dump_json())
    async with running(create_app(settings_for(origin_url, redis_url, nats_url, trusted_proxies="127.0.0.0/8"))) as client:
        client.headers["X-Forwarded-For"] = new_address()
        yield client


def new_address() -> str:
    return str(IPv6Address(int.from_bytes(os.urandom(16))))


def answering(status: int) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return JSONResponse({}, status)

    return answer


@pytest.mark.parametrize(("path", "counts"), [(LOGIN, 401), (REGISTER, 201), (REGISTER, 409), (FORGOT, 202)])
async def test_an_address_that_tries_too_often_waits_and_no_service_is_asked(
    watchful: httpx.AsyncClient, origin: Origin, path: str, counts: int
) -> None:
    origin.answer = answering(counts)
    assert [(await watchful.post(path)).status_code for _ in range(5)] == [counts] * 4 + [429]
    assert len(origin.calls) == 4
    refused = await watchful.post(path)
    assert (refused.headers["content-type"], refused.json()["violated-policies"]) == ("application/problem+json", ["ip"])
    assert refused.headers["retry-after"] == "1"
    assert (await watchful.post(path, headers={"X-Forwarded-For": new_address()})).status_code == counts, "not another address"


@pytest.mark.parametrize(("path", "status"), [(LOGIN, 200), (LOGIN, 422), (LOGIN, 429), (REGISTER, 422), (FORGOT, 503)])
async def test_what_did_not_fail_is_not_counted(watchful: httpx.AsyncClient, origin: Origin, path: str, status: int) -> None:
    origin.answer = answering(status)
    assert {(await watchful.post(path)).status_code for _ in range(12)} == {status}


async def test_whoever_guesses_at_an_address_leaves_its_sessions_and_keys_alone(
    watchful: httpx.AsyncClient, origin: Origin
) -> None:
    origin.answer = answering(401)
    for _ in range(6):
        await watchful.post(LOGIN)
    assert (await watchful.post(LOGIN)).status_code == 429
    headers, _ = origin.new_person("wide")
    origin.answer = answering(200)
    for path in (SYMBOLS, "/api/v1/auth/me"):
        assert (await watchful.get(path, headers=headers)).status_code == 200
    assert (await watchful.post("/api/v1/auth/refresh")).status_code == 200
