"""A store that Sentinel watches: its primary goes, and whoever has a connection goes on with the one that was promoted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.scripts import Script, ScriptConnection
from shared.store import open_store
from tests.support.poll import until
from tests.support.sentinel import WatchedStore, watched_store

COUNT = Script("return redis.call('INCR', KEYS[1])")
_FAILOVER_S = 60.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WatchedStore]:
    async with watched_store(tmp_path) as found:
        yield found


class Clients:
    """Both ways in which services ask the store."""

    def __init__(self, redis: Redis, scripts: ScriptConnection) -> None:
        self._redis = redis
        self._scripts = scripts

    async def count(self) -> list[int]:
        """One more each; nothing while nobody serves one of them."""
        try:
            return [await self._redis.incr("pool"), await self._scripts.call(COUNT, ["script"], [])]
        except (RedisError, OSError, Unavailable):
            return []

    async def count_by_script(self) -> int:
        try:
            return int(await self._scripts.call(COUNT, ["script"], []))
        except Unavailable:
            return 0

    async def served(self) -> list[int]:
        return await until(self.count, seconds=60, what="the one that was promoted serves")


@pytest.fixture
async def clients(store: WatchedStore) -> AsyncIterator[Clients]:
    async with open_store(store.url) as redis, ScriptConnection(store.url) as scripts:
        yield Clients(redis, scripts)


async def test_when_the_primary_is_killed_they_go_on_from_what_was_copied(store: WatchedStore, clients: Clients) -> None:
    assert [await clients.count() for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]
    await store.has_copied()
    store.kill_primary()
    assert min(await clients.served()) > 3


async def test_a_primary_that_handed_over_is_left(store: WatchedStore, clients: Clients) -> None:
    assert await clients.count() == [1, 1]
    await store.has_copied()
    await store.hand_over()
    await clients.served()
    assert all([await clients.count() for _ in range(20)]), "nobody asks the one that may not write"


async def test_limits_go_on_with_the_one_that_was_promoted_where_the_primary_cannot_be_reached_by_its_replicas(
    store: WatchedStore, clients: Clients
) -> None:
    """`min-replicas-to-write` holds that primary from counting what nobody would know of."""
    assert await clients.count() == [1, 1]
    await store.has_copied()
    await store.cut_off_primary()
    assert await until(clients.count_by_script, seconds=60, what="the one that was promoted counts") == 2
