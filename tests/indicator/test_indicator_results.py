"""Costly answers are kept: under every field they depend on, for as long as they hold, and only where that is quicker."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from indicator_service.adapters import kept_results
from indicator_service.adapters.kept_results import RedisResults
from indicator_service.domain.results import ResultKey, Results, TimesToLive
from shared.ids import new_id
from shared.metrics import Metrics
from shared.store import open_store

TTL = TimesToLive(forming=1800, closed=86400, groups={"Cycle Indicators": 60})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept(dict[str, tuple[bytes, int]]):
    """A store in memory."""

    async def get(self, key: ResultKey) -> bytes | None:  # type: ignore[override]  # the port's
        return super().get(key.text, (None, 0))[0]

    async def has(self, key: ResultKey) -> bool:
        return key.text in self

    async def put(self, key: ResultKey, answer: bytes, ttl_s: int) -> None:
        self[key.text] = answer, ttl_s


class Maker:
    """Takes so long, on a clock of its own."""

    def __init__(self, results: Results, clock: Clock, seconds: float) -> None:
        self.results, self.clock, self.seconds, self.made = results, clock, seconds, 0

    async def __call__(self) -> bytes:
        self.made += 1
        await asyncio.sleep(0)
        self.clock.now += self.seconds
        return b"answer"

    async def ask(self, version: str = "v1", *, guess: bool = False) -> bytes:
        return await self.results.answer(lambda: ResultKey("IBM", "sma", "fields", version), "work", 60, self, guess=guess)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def maker(kept: Kept, seconds: float) -> Maker:
    clock = Clock()
    return Maker(Results(kept, TTL, 0.001, clock), clock, seconds)


async def test_what_is_cheap_is_made_each_time(kept: Kept) -> None:
    cheap = maker(kept, 0.0009)
    for _ in range(3):
        await cheap.ask()
    assert (cheap.made, kept) == (3, {})


async def test_what_is_costly_is_made_once_it_is_known_to_be(kept: Kept) -> None:
    costly = maker(kept, 0.001)
    for _ in range(4):
        assert await costly.ask() == b"answer"
    assert costly.made == 2
    assert list(kept.values()) == [(b"answer", 60)]
    await costly.ask("v2")
    assert costly.made == 3, "of other bars nothing was kept"


async def test_what_was_long_the_first_time_alone_is_not_kept(kept: Kept) -> None:
    once = maker(kept, 0.01)
    await once.ask()
    once.seconds = 0.0001
    for _ in range(3):
        await once.ask()
    assert (once.made, kept) == (4, {})


async def test_who_asks_meanwhile_waits_for_the_same(kept: Kept) -> None:
    costly = maker(kept, 1)
    assert await asyncio.gather(*(costly.ask(guess=True) for _ in range(5))) == [b"answer"] * 5
    assert costly.made == 1


async def test_who_goes_away_leaves_it_to_the_others(kept: Kept) -> None:
    costly = maker(kept, 1)
    first, second = (asyncio.create_task(costly.ask(guess=True)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"answer"
    assert costly.made == 1


def test_an_answer_lives_as_long_as_its_bars_and_its_group_allow() -> None:
    assert (TTL.of("Momentum Indicators", forming=True), TTL.of("Momentum Indicators", forming=False)) == (1800, 86400)
    assert (TTL.of("Cycle Indicators", forming=True), TTL.of("Cycle Indicators", forming=False)) == (60, 60)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_store(redis_url) as redis:
        yield redis


@pytest.fixture
def symbol() -> str:
    return f"T{new_id().hex[:20].upper()}"


def key(symbol: str, fields: str, version: str = "v1") -> ResultKey:
    return ResultKey(symbol, "sma", fields, version)


async def test_a_market_fact_frees_what_was_computed_on_older_bars(redis: Redis, symbol: str) -> None:
    results = RedisResults(redis, Metrics("test"))
    old, new, other = key(symbol, "a"), key(symbol, "a", "v2"), key(f"{symbol}X", "a")
    for one in (old, new, other):
        await results.put(one, b"answer", 100)
    assert 0 < await redis.ttl(old.text) <= 100
    await results.free(symbol, "v2")
    assert [await results.has(one) for one in (old, new, other)] == [False, True, True]
    assert await results.get(new) == b"answer"


async def test_too_many_or_too_long_answers_are_not_kept(redis: Redis, symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await redis.delete("indicators:kept")
    monkeypatch.setattr(kept_results, "_MOST", 3)
    results = RedisResults(redis, Metrics("test"))
    keys = [key(symbol, str(number)) for number in range(5)]
    for one in keys:
        await results.put(one, b"answer", 100)
    assert [await results.has(one) for one in keys] == [False, False, True, True, True]
    await results.put(key(symbol, "long"), b"x" * (256 * 1024 + 1), 100)
    assert not await results.has(key(symbol, "long"))


async def test_a_store_that_is_away_only_slows_and_is_counted() -> None:
    metrics = Metrics("test")
    async with open_store("redis://127.0.0.1:1") as away:
        results = RedisResults(away, metrics)
        for _ in range(3):
            assert await results.get(key("IBM", "a")) is None
            assert not await results.has(key("IBM", "a"))
            await results.put(key("IBM", "a"), b"answer", 60)
    told = metrics.render()[0].decode()
    assert 'kalpi_indicator_results_total{outcome="failure"} 1.0' in told, "after the first nobody waits for it again"


async def test_explain_says_whether_the_answer_is_kept(client: httpx.AsyncClient, app: FastAPI) -> None:
    path = "/api/v1/indicators/cci?symbol=IBM&time_period=1500&limit=50000"
    results: Results = app.state.results
    results.min_cost_s = 0
    await RedisResults(app.state.results.store._redis, Metrics("test")).free("IBM", "another")
    assert (await client.get(f"{path}&explain=true")).json()["cached"] is False
    first = await client.get(path)
    assert (await client.get(f"{path}&explain=true")).json()["cached"] is True
    again = await client.get(path)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    # another format, range or order is another answer
    for other in ("&format=csv", "&order=desc", "&start_date=2005-01-03", "&include_ohlc=true", "&adjustment=none"):
        assert (await client.get(f"{path}{other}&explain=true")).json()["cached"] is False
    cheap = "/api/v1/indicators/sma?symbol=IBM&start_date=2013-02-01"
    results.min_cost_s = 3600
    for _ in range(3):
        await client.get(cheap)
    assert (await client.get(f"{cheap}&explain=true")).json()["cached"] is False
