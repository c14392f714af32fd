"""The response cache in Redis: bounded by its slots, and never the answer to another request."""

import hashlib

import pytest
from redis.asyncio import Redis

from gateway.adapters import answers
from gateway.adapters.answers import RedisAnswers
from gateway.domain.ports import Answer
from shared.ids import new_id
from shared.metrics import Metrics
from shared.store import open_store


def new_key() -> str:
    return hashlib.sha256(new_id().bytes).hexdigest()


@pytest.fixture
def cache(redis: Redis) -> RedisAnswers:
    return RedisAnswers(redis, Metrics("test"))


async def test_an_answer_comes_back_as_it_was_kept(cache: RedisAnswers) -> None:
    key, answer = new_key(), Answer(((b"etag", b'"1"'), (b"x", b"\xe9")), b"a\nbody\n\x00")
    await cache.put(key, answer)
    assert await cache.get(key) == answer
    assert await cache.get(new_key()) is None


async def test_two_keys_of_one_slot_never_share_an_answer(cache: RedisAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SLOTS", 1)
    first, second = new_key(), new_key()
    await cache.put(first, Answer((), b"first"))
    assert await cache.get(second) is None
    await cache.put(second, Answer((), b"second"))
    assert await cache.get(first) is None
    assert await cache.get(second) == Answer((), b"second")


async def test_an_answer_beyond_the_bound_is_not_kept(cache: RedisAnswers) -> None:
    key = new_key()
    await cache.put(key, Answer((), bytes(answers.LONGEST + 1)))
    assert await cache.get(key) is None


async def test_a_store_that_is_away_finds_and_keeps_nothing_and_is_counted() -> None:
    metrics = Metrics("test")
    async with open_store("redis://127.0.0.1:1") as away:
        cache = RedisAnswers(away, metrics)
        await cache.put(new_key(), Answer((), b""))
        assert await cache.get(new_key()) is None
    assert b"kalpi_gateway_cache_failures_total 2.0" in metrics.render()[0]
