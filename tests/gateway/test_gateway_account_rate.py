"""How often a user may ask for what spends no quota of the plan's."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from gateway.app import create_app
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from shared.limits.plans import Burst, parse_plans
from tests.gateway.conftest import PLANS, Origin, settings_for
from tests.support.asgi import running

FREE = [
    ("POST", "/api/v1/auth/api-keys"),
    ("DELETE", "/api/v1/auth/api-keys/1"),
    ("PATCH", "/api/v1/auth/me"),
    ("GET", "/api/v1/usage"),
    ("GET", "/api/v1/indicators"),
    ("GET", "/api/v1/indicators/sma?explain=true"),
]


@pytest.fixture
async def strict(origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway where a user has three such requests an hour."""
    book = parse_plans(PLANS).model_copy(update={"account": Burst(quota=3, window_s=3600)})
    await redis.set(PLANS_KEY, book.model_dump_json())
    async with running(create_app(settings_for(origin_url, redis_url, nats_url))) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), FREE)
async def test_whoever_has_used_it_up_is_told_so_and_reaches_no_service(
    strict: httpx.AsyncClient, origin: Origin, method: str, path: str
) -> None:
    headers, _ = origin.new_person("tiny")
    left = [(await strict.request(method, path, headers=headers)).headers["ratelimit"].partition(";t=")[0] for _ in range(3)]
    assert left == ['"account";r=2', '"account";r=1', '"account";r=0']
    refused = await strict.request(method, path, headers=headers)
    assert (refused.status_code, refused.json()["violated-policies"], len(origin.calls)) == (429, ["account"], 3)
    assert refused.headers["ratelimit-policy"] == '"account";q=3;w=3600'
    assert 1 <= int(refused.headers["retry-after"]) <= 1200


async def test_it_is_one_burst_for_all_of_it_and_no_quota_nor_anybody_elses(strict: httpx.AsyncClient, origin: Origin) -> None:
    headers, person = origin.new_person("tiny")
    statuses = [(await strict.request(method, path, headers=headers)).status_code for method, path in FREE]
    assert statuses == [200, 200, 200, 429, 429, 429]
    data = await strict.get("/api/v1/symbols", headers=headers)
    assert (data.status_code, data.headers["ratelimit-policy"]) == (200, '"day";q=3;w=86400')
    colleague, _ = origin.new_person("tiny", tenant_id=person["tenant_id"])
    assert (await strict.get("/api/v1/usage", headers=colleague)).status_code == 200


async def test_what_operators_ask_is_not_counted(strict: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("tiny")
    answers = [await strict.post("/api/v1/check", headers=headers) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert "ratelimit" not in answers[0].headers


def test_a_plan_file_that_says_nothing_of_it_allows_twenty_a_second() -> None:
    assert parse_plans(PLANS).account == Burst(quota=20, window_s=1)
