"""Costly answers are kept: under every field they depend on, for as long as they hold, and only where that is quicker."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from indicator_service.adapters import kept_results
from indicator_service.adapters.kept_results import RedisResults
from indicator_service.app import NAME
from indicator_service.domain import results as domain_results
from indicator_service.domain.catalogue import edition_of
from indicator_service.domain.results import ALL, ResultKey, Results, TimesToLive, version_of_many
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.limits.plans import Entitlements
from shared.metrics import Metrics
from shared.store import open_store
from shared.subjects import bars_subject
from tests.indicator.conftest import Counted
from tests.support.poll import until
from tests.support.principals import headers_for, user

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


async def test_what_was_made_of_newer_bars_is_not_kept_under_the_older_ones(kept: Kept) -> None:
    costly = maker(kept, 1)
    for _ in range(2):
        asked = costly.results.answer(
            lambda: ResultKey(ALL, "screen", "fields", "v1"), "work", 60, costly, guess=True, holds=lambda: False
        )
        assert await asked == b"answer"
    assert (costly.made, kept) == (2, {})


def test_the_version_of_many_is_another_as_soon_as_that_of_one_is() -> None:
    versions = {"IBM": "v1", "FB": "v2"}
    one = version_of_many(versions, {"NOSUCH": "unknown"})
    assert one == version_of_many(dict(reversed(versions.items())), {"NOSUCH": "unknown"})
    others = [version_of_many({**versions, "IBM": "v3"}, {"NOSUCH": "unknown"}), version_of_many(versions, {})]
    assert len({one, *others, version_of_many({"IBM": "v2", "FB": "v1"}, {"NOSUCH": "unknown"})}) == 4


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
    await results.free({symbol: "v2"})
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
    await results.put(key(symbol, "long"), random.Random(1).randbytes(256 * 1024 + 1), 100)  # noqa: S311 - the same in every run
    assert not await results.has(key(symbol, "long"))


async def test_what_is_too_long_is_kept_if_it_is_not_once_it_is_compressed(redis: Redis, symbol: str) -> None:
    results, long = RedisResults(redis, Metrics("test")), b'{"symbol":"IBM"}' * 20_000
    await results.put(key(symbol, "long"), long, 100)
    assert await redis.strlen(key(symbol, "long").text) < 10_000
    assert await results.get(key(symbol, "long")) == long


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


async def test_a_release_that_computes_otherwise_finds_no_answer_of_the_one_before(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/indicators/cci?symbol=IBM&time_period=1400&limit=50000"
    app.state.results.min_cost_s = 0
    await client.get(path)
    assert (await client.get(f"{path}&explain=true")).json()["cached"] is True
    monkeypatch.setattr(domain_results, "EDITION", edition_of({"named.toml": "", "overlay.toml": ""}))
    assert (await client.get(f"{path}&explain=true")).json()["cached"] is False
    texts = {"named.toml": "[a]", "overlay.toml": "[b]"}
    assert len({edition_of({**texts, **changed}) for changed in ({}, {"named.toml": "[c]"}, {"overlay.toml": "[c]"})}) == 3


async def test_explain_says_whether_the_answer_is_kept(client: httpx.AsyncClient, app: FastAPI) -> None:
    path = "/api/v1/indicators/cci?symbol=IBM&time_period=1500&limit=50000"
    results: Results = app.state.results
    results.min_cost_s = 0
    await RedisResults(app.state.results.store._redis, Metrics("test")).free({"IBM": "another"})
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


SCREENER = "/api/v1/screener"


async def listed(app: FastAPI, symbol: str) -> set[bytes]:
    """The keys that are freed with this symbol, or with any."""
    keys: set[bytes] = await app.state.results.store._redis.smembers(f"indicators:of:{symbol}")
    return keys


@pytest.fixture
async def keeping(client: httpx.AsyncClient, app: FastAPI) -> httpx.AsyncClient:
    """A client of a service that finds everything costly and has kept nothing yet."""
    app.state.results.min_cost_s = 0
    await app.state.results.store.free({"IBM": "another"})
    return client


async def test_a_fact_about_a_symbol_frees_what_rests_on_it_alone_or_among_many(
    keeping: httpx.AsyncClient, app: FastAPI, nats_url: str
) -> None:
    for _ in range(2):
        await keeping.get("/api/v1/indicators/cci?symbol=IBM&time_period=1400&limit=50000")
        await keeping.post(SCREENER, json={"expression": "close > open"})
        await keeping.get("/api/v1/patterns")
    assert [len(await listed(app, symbol)) for symbol in ("IBM", ALL)] == [1, 2]
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:

        async def nothing_is_left() -> bool:
            # again and again: the service may not be following yet
            await bus.publish(bars_subject("IBM"), {"symbol": "IBM", "data_version": "another"})
            return not await listed(app, "IBM") and not await listed(app, ALL)

        await until(nothing_is_left, what="all of it freed")


async def test_a_screen_is_kept_under_everything_it_depends_on(keeping: httpx.AsyncClient, app: FastAPI) -> None:
    bodies: list[dict[str, Any]] = [
        {"expression": "close > open"},
        {"expression": "close  >  OPEN"},  # the same
        {"expression": "close > open", "columns": {"c": "close"}},
        {"expression": "close > open", "columns": {"c": "close"}, "sort": "c"},
        {"expression": "close > open", "limit": 1},
        {"expression": "close > open", "order": "desc"},
        {"expression": "close > open", "universe": ["IBM", "NOSUCH"]},
        {"expression": "close > open", "as_of": "2012-10-31"},
        {"expression": "close > open", "adjustment": "none"},
    ]
    first = [(await keeping.post(SCREENER, json=body)).content for body in bodies for _ in range(2)][::2]
    again = [(await keeping.post(SCREENER, json=body)).content for body in bodies]
    assert again == first
    assert len(await listed(app, ALL)) == len(bodies) - 1


async def test_a_scan_of_patterns_is_kept_whole_and_paged_from_there(keeping: httpx.AsyncClient, app: FastAPI) -> None:
    for query in ("", "?limit=2", "?order=desc", "?sort=strength", "?format=csv"):
        assert (await keeping.get(f"/api/v1/patterns{query}")).status_code == 200
    assert len(await listed(app, ALL)) == 1
    for query in ("?patterns=doji", "?direction=bearish", "?symbols=IBM", "?date=2012-10-31", "?as_of=2012-10-31"):
        for _ in range(2):
            assert (await keeping.get(f"/api/v1/patterns{query}")).status_code == 200
    assert len(await listed(app, ALL)) == 6


async def test_who_sees_a_part_of_the_past_gets_nothing_of_it_from_what_is_kept(keeping: httpx.AsyncClient) -> None:
    body = {"expression": "close > open", "as_of": "2010-06-01"}
    assert [(await keeping.post(SCREENER, json=body)).status_code for _ in range(2)] == [200, 200]
    entitled = Entitlements(indicators="all", batch_series=5, history_days=90, features=("screener", "expressions"))
    refused = await keeping.post(SCREENER, json=body, headers=headers_for(user("pro"), NAME, entitled))
    assert refused.status_code == 403


BATCH = "/api/v1/indicators/batch"


def batch_of(*symbols: str, **more: Any) -> dict[str, Any]:
    items = [{"indicator": "rsi"}, {"indicator": "bbands"}]
    return {"constructs": [{"symbol": symbol, "limit": 20, "indicators": items, **more} for symbol in symbols]}


async def test_a_batch_that_is_asked_again_is_kept_under_everything_it_depends_on(
    keeping: httpx.AsyncClient, app: FastAPI, data_service: tuple[Counted, str]
) -> None:
    bodies = [
        batch_of("IBM", "FB"),
        batch_of("FB", "IBM"),
        batch_of("IBM", "FB", order="desc"),
        batch_of("IBM", "FB", as_of="2012-10-31"),
        batch_of("IBM", "FB", adjustment="none"),
    ]
    pro = user("pro")
    asked: list[tuple[dict[str, Any], str, Entitlements | None]] = [(body, "", None) for body in bodies]
    asked += [(bodies[0], query, None) for query in ("?format=csv", "?format=csv&shape=wide", "?format=arrow")]
    asked += [(bodies[0], "", Entitlements(indicators="all", batch_series=5, history_days=days)) for days in (90, 5)]

    async def answer_to(body: dict[str, Any], query: str, entitled: Entitlements | None) -> bytes:
        headers = headers_for(pro, NAME, entitled) if entitled is not None else {}
        return (await keeping.post(f"{BATCH}{query}", json=body, headers=headers)).content

    async def answers() -> list[bytes]:
        return [await answer_to(*one) for one in asked]

    first = await answers()
    assert await listed(app, ALL) == set(), "what nobody asks again"
    assert await answers() == first
    assert len(await listed(app, ALL)) == len(set(first)) == len(asked)
    data_service[0].calls.clear()
    assert await answers() == first
    assert {path for path, _ in data_service[0].calls} == {"/internal/v1/versions"}
    answer = await keeping.post(BATCH, json=bodies[0])
    assert (answer.headers["x-kalpi-failed"], answer.headers["content-length"]) == ("0", str(len(first[0])))


@pytest.mark.parametrize(
    "body",
    [
        batch_of("IBM", "NOSUCH"),
        batch_of("IBM", "FB", start_date="2013-02-02", end_date="2013-02-01"),
        {"constructs": [*batch_of("IBM")["constructs"], *batch_of("IBM", interval="1week")["constructs"]]},
        batch_of("IBM", limit=10_000),
        {"constructs": [{"symbol": "IBM", "limit": 1, "indicators": [{"indicator": "obv"}]}]},
    ],
    ids=["an unknown symbol", "a mistake", "two intervals", "many values", "a group with a time of its own"],
)
async def test_other_batches_are_not_kept(keeping: httpx.AsyncClient, app: FastAPI, body: dict[str, Any]) -> None:
    results: Results = app.state.results
    results.ttl = TimesToLive(results.ttl.forming, results.ttl.closed, {"Volume Indicators": 60})
    failed = {(await keeping.post(BATCH, json=body)).headers["x-kalpi-failed"] for _ in range(3)}
    assert len(failed) == 1
    assert await listed(app, ALL) == set()
