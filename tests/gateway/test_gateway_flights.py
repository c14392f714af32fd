"""Many who want the same answer at the same time: one request to its service, and what each of them gets and pays."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from gateway.app import create_app
from shared.events import EventBus
from tests.gateway.conftest import Market, settings_for
from tests.support.asgi import Answer, ask, running
from tests.support.poll import until

MANY = 1000


@pytest.fixture
async def app(
    redis: Redis, bus: EventBus, market: Market, origin_url: str, redis_url: str, nats_url: str, patience_s: float
) -> AsyncIterator[FastAPI]:
    """A gateway that has heard of the market's symbol."""
    app = create_app(settings_for(origin_url, redis_url, nats_url, upstream_timeout_s=patience_s))
    async with running(app) as client:
        headers, _ = market.origin.new_person("wide")

        async def hit() -> bool:
            return (await client.get(f"/api/v1/bars/{market.symbol}?warm=1", headers=headers)).headers["x-cache"] == "HIT"

        await until(hit, what="the market's facts")
        market.origin.calls.clear()
        yield app


class Gate:
    """An origin that answers when it is let go."""

    def __init__(self, market: Market) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.answer: Callable[[Request], Awaitable[Response]] = market.answer
        market.origin.answer = self

    async def __call__(self, request: Request) -> Response:
        self.entered.set()
        await self.open.wait()
        return await self.answer(request)


def path(market: Market) -> str:
    return f"/api/v1/bars/{market.symbol}"


async def asked(app: FastAPI, market: Market, count: int, headers: dict[str, str]) -> list[asyncio.Task[Answer]]:
    """So many who ask now."""
    tasks = [asyncio.create_task(ask(app, "GET", path(market), headers=headers)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_a_thousand_who_miss_the_same_answer_make_one_request(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("wide")
    await ask(app, "GET", "/api/v1/auth/me", headers=headers)  # so that they are known
    market.origin.calls.clear()
    answers = await asyncio.gather(*await asked(app, market, MANY, headers))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(market.origin.calls) == 1


async def test_each_who_waits_pays_for_himself(app: FastAPI, market: Market, redis: Redis) -> None:
    headers, person = market.origin.new_person("many")
    answers = await asyncio.gather(*await asked(app, market, 12, headers))
    assert sorted(answer.status for answer in answers) == [200] * 10 + [429] * 2
    assert len(market.origin.calls) == 1
    assert int(await redis.hget(f"limits:day:user:{person['user_id']}", "used") or 0) == 10


async def test_each_who_waits_is_one_of_the_requests_that_a_caller_may_have_at_a_time(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("tiny")
    gate = Gate(market)
    (first,) = await asked(app, market, 1, headers)
    await gate.entered.wait()
    second = await ask(app, "GET", path(market), headers=headers)
    assert (second.status, json.loads(second.content)["violated-policies"]) == (429, ["concurrency"])
    gate.open.set()
    assert (await first).status == 200


async def test_a_client_that_goes_away_takes_the_answer_from_nobody(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("wide")
    gate = Gate(market)
    (first,) = await asked(app, market, 1, headers)
    await gate.entered.wait()
    others = await asked(app, market, 5, headers)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open.set()
    assert [answer.status for answer in await asyncio.gather(*others)] == [200] * 5
    assert len(market.origin.calls) == 1


@pytest.mark.parametrize("patience_s", [2.0])
async def test_when_the_service_does_not_answer_all_are_told_the_same(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("wide")
    gate = Gate(market)
    answers = await asyncio.gather(*await asked(app, market, 20, headers))
    assert {(answer.status, answer.headers["content-type"]) for answer in answers} == {(503, "application/problem+json")}
    assert len({json.loads(answer.content)["detail"] for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers), "of each his own request"
    assert len(market.origin.calls) == 1
    gate.open.set()


@pytest.mark.parametrize("body", [b"short", bytes(600 << 10)], ids=["untagged", "too long"])
async def test_an_answer_that_is_not_for_all_is_asked_for_by_each(app: FastAPI, market: Market, body: bytes) -> None:
    headers, _ = market.origin.new_person("wide")
    tags = {"Surrogate-Key": f"bars:{market.symbol}@{market.version}"} if len(body) > 5 else {}

    async def answer(_request: Request) -> Response:
        return Response(body, headers=tags)

    gate = Gate(market)
    gate.answer = answer
    (first,) = await asked(app, market, 1, headers)
    await gate.entered.wait()
    others = await asked(app, market, 5, headers)
    gate.open.set()
    answers = await asyncio.gather(first, *others)
    assert [(answer.status, answer.content == body) for answer in answers] == [(200, True)] * 6
    assert len(market.origin.calls) == 6


async def test_nobody_waits_for_another_where_the_answer_was_not_for_all(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("wide")

    async def untagged(_request: Request) -> Response:
        return Response(b"mine")

    market.origin.answer = untagged
    await ask(app, "GET", path(market), headers=headers)
    gate = Gate(market)
    waiting = await asked(app, market, 3, headers)
    await until(lambda: _is(len(market.origin.calls) == 4), what="all of them at the service")
    gate.open.set()
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
    market.origin.calls.clear()
    again = await asyncio.gather(*await asked(app, market, 3, headers))
    assert (again[0].headers["x-cache"], market.origin.calls) == ("HIT", []), "tagged now, it is kept"


async def test_a_client_that_goes_away_while_it_is_handed_its_own_answer_leaves_no_connection(
    app: FastAPI, market: Market
) -> None:
    headers, _ = market.origin.new_person("wide")

    async def untagged(_request: Request) -> Response:
        return Response(b"mine")

    gate = Gate(market)
    gate.answer = untagged
    (first,) = await asked(app, market, 1, headers)
    await gate.entered.wait()
    first.cancel()
    gate.open.set()

    async def landed() -> bool:
        return not [task for task in asyncio.all_tasks() if task.get_name() == "flight"]

    await until(landed, what="the end of the flight")


async def test_who_comes_after_a_fact_is_not_given_what_it_overtook(app: FastAPI, market: Market) -> None:
    headers, _ = market.origin.new_person("wide")
    old = market.version

    async def first_old(request: Request) -> Response:
        version = old if len(market.origin.calls) == 1 else market.version
        tags = {"Surrogate-Key": f"bars:{market.symbol}@{version}"}
        return Response(version, headers=tags)

    gate = Gate(market)
    gate.answer = first_old
    (first,) = await asked(app, market, 1, headers)
    await gate.entered.wait()
    await market.announce("v2")
    await until(lambda: _is(kept(app) == 0), what="the fact")
    others = await asked(app, market, 5, headers)
    gate.open.set()
    assert (await first).content == b"v1"
    assert {answer.content for answer in await asyncio.gather(*others)} == {b"v2"}


def kept(app: FastAPI) -> float | None:
    """How many answers are in the cache."""
    value: float | None = app.state.shell.metrics.registry.get_sample_value("kalpi_gateway_cache_answers")
    return value


async def _is(truth: bool) -> bool:
    return truth
