"""Batches at the edge: counted before they are paid for, and large bodies held only as long as there is room."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from gateway.app import create_app
from gateway.domain.bodies import SMALL, BodyRoom, HeldBody
from gateway.domain.errors import TooLargeAtOnce
from shared.errors import Unavailable
from shared.events import EventBus
from tests.gateway.conftest import Origin, settings_for
from tests.gateway.test_gateway_edge import day_used, problem
from tests.support.asgi import running

BATCH = "/api/v1/indicators/batch"
MIB = 1 << 20


def faults(answer: httpx.Response) -> list[dict[str, Any]]:
    errors: Any = problem(answer, 422)["errors"]
    return list(errors)


def held(room: BodyRoom, account: str) -> HeldBody:
    one = HeldBody(room)
    one.account = account
    return one


def body(*sizes: int) -> bytes:
    """A batch with so many series in each construct."""
    item: dict[str, Any] = {"indicator": "sma"}
    return orjson.dumps({"constructs": [{"symbol": "IBM", "indicators": [item] * size} for size in sizes]})


@pytest.mark.parametrize(("sizes", "cost"), [((1,), 1), ((4, 6), 1), ((11,), 2), ((10, 15), 3)])
async def test_a_batch_costs_a_tenth_of_its_series_of_the_day(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis, sizes: tuple[int, ...], cost: int
) -> None:
    headers, person = origin.new_person("many")
    answer = await gateway.post(BATCH, headers=headers, content=body(*sizes))
    assert answer.headers["ratelimit"].startswith(f'"day";r={10 - cost}')
    assert await day_used(redis, person) == cost
    assert origin.bodies[-1] == body(*sizes), "the body arrives as it was sent"


async def test_a_batch_that_the_day_does_not_hold_any_more_costs_nothing(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("many")
    for _ in range(3):
        assert (await gateway.post(BATCH, headers=headers, content=body(25))).status_code == 200
    assert problem(await gateway.post(BATCH, headers=headers, content=body(25)), 429)["violated-policies"] == ["day"]
    assert await day_used(redis, person) == 9
    assert (await gateway.post(BATCH, headers=headers, content=body(1))).status_code == 200


async def test_a_tier_bounds_the_series_and_what_is_refused_costs_nothing(
    gateway: httpx.AsyncClient, origin: Origin, redis: Redis
) -> None:
    headers, person = origin.new_person("tiny")
    assert problem(await gateway.post(BATCH, headers=headers, content=body(3, 3)), 403)["required_tier"] == "many"
    problem(await gateway.post(BATCH, headers=headers, content=body(26)), 422)
    for bad in (b"", b"[]", b'{"constructs":[]}', b'{"constructs":[{"indicators":7}]}'):
        problem(await gateway.post(BATCH, headers=headers, content=bad), 422)
    assert not origin.calls
    assert await day_used(redis, person) == 0
    assert (await gateway.post(BATCH, headers=headers, content=body(5))).status_code == 200


@pytest.mark.parametrize(
    ("path", "most"),
    [(BATCH, 16 * MIB), ("/api/v1/indicators/rsi", 8 * MIB), ("/api/v1/bars/IBM", MIB), ("/api/v1/auth/login", SMALL)],
)
async def test_each_route_has_its_own_largest_body(gateway: httpx.AsyncClient, origin: Origin, path: str, most: int) -> None:
    headers, _ = origin.new_person("wide")
    padded = body(1).ljust(most)
    assert (await gateway.post(path, headers=headers, content=padded)).status_code == 200
    assert len(origin.bodies[-1]) == most
    problem(await gateway.post(path, headers=headers, content=padded + b" "), 413)


async def test_what_can_be_no_batch_of_a_tier_is_not_read(gateway: httpx.AsyncClient, origin: Origin) -> None:
    """Reading it would take many times the room of its bytes, and stop everybody else meanwhile."""
    headers, _ = origin.new_person("tiny")
    filled = b",".join([b"[]"] * MIB)
    for junk in (filled, b'{"indicators":[{"x":[' + filled + b"]}]}", b",".join([b"1.5"] * MIB)):
        refused = await gateway.post(BATCH, headers=headers, content=b'{"constructs":[' + junk + b"]}")
        assert faults(refused)[0]["type"] == "too_long"
    crowd = body(20_000)
    assert len(crowd) > SMALL
    assert faults(await gateway.post(BATCH, headers=headers, content=crowd))[0]["loc"] == ["body", "constructs"]
    assert not origin.calls


async def test_a_body_that_is_still_coming_takes_one_of_the_requests_at_a_time(
    gateway: httpx.AsyncClient, origin: Origin
) -> None:
    headers, _ = origin.new_person("tiny")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield body(1)
        begun.set()
        await go_on.wait()
        yield b" "

    first = asyncio.create_task(gateway.post(BATCH, headers=headers, content=slow()))
    async with asyncio.timeout(10):
        await begun.wait()  # the gateway has asked for more of it
    second = await gateway.post(BATCH, headers=headers, content=body(1))
    assert problem(second, 429)["violated-policies"] == ["concurrency"]
    go_on.set()
    assert (await first).status_code == 200


async def test_a_get_has_no_body(gateway: httpx.AsyncClient, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    problem(await gateway.request("GET", "/api/v1/bars/IBM", headers=headers, content=b" "), 413)
    assert (await gateway.request("GET", "/api/v1/bars/IBM", headers=headers)).status_code == 200


async def test_a_large_body_is_not_read_of_whom_nobody_knows(gateway: httpx.AsyncClient) -> None:
    read = 0

    async def pieces() -> Any:
        nonlocal read
        for _ in range(16):
            read += 1
            yield b" " * MIB

    problem(await gateway.post(BATCH, content=pieces()), 401)
    assert read == 0


async def test_without_room_a_large_body_is_refused_and_a_small_one_is_not(
    redis: Redis, bus: EventBus, origin: Origin, origin_url: str, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")
    async with running(create_app(settings_for(origin_url, redis_url, nats_url, held_body_mb=2))) as gateway:
        large = await gateway.post(BATCH, headers=headers, content=body(1).ljust(2 * MIB))
        assert "retry-after" in large.headers
        assert problem(large, 429)["violated-policies"] == ["bodies"]
        for _ in range(3):  # what was held is given back
            assert (await gateway.post(BATCH, headers=headers, content=body(1).ljust(MIB))).status_code == 200


def test_room_is_taken_by_what_is_large_and_given_back_once() -> None:
    room = BodyRoom(100)
    first, second, third = held(room, "ann"), held(room, "bob"), held(room, "cid")
    first.take(SMALL)
    second.take(SMALL + 50)
    first.take(40)
    third.take(SMALL + 10)
    with pytest.raises(Unavailable):
        third.take(1)
    second.give_back()
    second.give_back()
    third.take(40)
    first.take(10)
    with pytest.raises(Unavailable):
        held(room, "bob").take(SMALL + 1)


def test_an_account_takes_at_most_half_of_the_room() -> None:
    room = BodyRoom(100)
    first, second, other = held(room, "ann"), held(room, "ann"), held(room, "bob")
    first.take(SMALL + 30)
    second.take(SMALL + 20)
    with pytest.raises(TooLargeAtOnce):
        second.take(1)
    other.take(SMALL + 50)
    first.give_back()
    second.take(30)
