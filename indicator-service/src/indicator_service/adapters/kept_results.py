"""Computed answers in Redis, shared by all instances of this service.

Bounded in number and length, so that no client can crowd the quota counters out of the store: when there are too many, the oldest
go. A symbol's keys are listed, so that a fact about its bars frees the memory of the answers that nobody can ask for any more.
What rests on many symbols is freed by a fact about any. What is too long is compressed, and kept if it then is not.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from indicator_service.domain.results import ALL, ResultKey
from shared.events import EventBus, Fact
from shared.logging import get_logger
from shared.metrics import Metrics
from shared.subjects import BARS_SUBJECTS, MARKET_STREAM
from shared.tasks import end_task

__all__ = ["RedisResults"]

_ALL = "indicators:kept"
_MOST = 1024
_LONGEST = 256 * 1024
_LONGEST_WHOLE = 8 << 20
_COMPRESSED = b"\0"
"""Begins what is compressed, and no format of an answer."""
_DEADLINE_S = 0.1
_AT_A_TIME = 256
_PAUSE_S = 1.0
"""After a failure nobody waits for the store again for so long."""
_LONGEST_TTL_S = 24 * 3600
_log = get_logger("results")


class RedisResults:
    def __init__(self, redis: Redis, metrics: Metrics) -> None:
        self._redis = redis
        self._found = metrics.counter("kalpi_indicator_results", "Look-ups of kept results", ("outcome",))
        self._paused_until = 0.0
        self._changed: dict[str, str] = {}
        self._freeing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._freeing is not None:
            await end_task(self._freeing)

    def follow(self, bus: EventBus) -> None:
        """A missed fact does no harm: the data version in the key makes an old answer unreachable, and it ends by itself."""

        async def on_gap() -> None:
            return None

        bus.follow(MARKET_STREAM, [BARS_SUBJECTS], self._on_fact, on_gap=on_gap)

    async def get(self, key: ResultKey) -> bytes | None:
        kept = await self._asked(self._redis.get(key.text))
        self._found.labels("hit" if kept is not None else "miss").inc()
        if not isinstance(kept, bytes):
            return None
        return zlib.decompress(kept[1:]) if kept.startswith(_COMPRESSED) else kept

    async def has(self, key: ResultKey) -> bool:
        return bool(await self._asked(self._redis.exists(key.text)))

    async def put(self, key: ResultKey, answer: bytes, ttl_s: int) -> None:
        if _LONGEST < len(answer) <= _LONGEST_WHOLE:
            answer = _COMPRESSED + await asyncio.to_thread(zlib.compress, answer, 1)
        if len(answer) > _LONGEST:
            return
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(key.text, answer, ex=ttl_s)
        pipeline.sadd(_of(key.symbol), key.text)
        pipeline.expire(_of(key.symbol), _LONGEST_TTL_S)
        pipeline.zadd(_ALL, {key.text: time.time()})
        pipeline.zrange(_ALL, 0, -_MOST - 1)
        told = await self._asked(pipeline.execute())
        if told and told[-1]:
            await self._free(told[-1])

    async def free(self, newest: Mapping[str, str]) -> None:
        """What was computed on other bars of these symbols than their newest, or on those of many."""
        pipeline = self._redis.pipeline(transaction=False)
        for name in (ALL, *newest):
            pipeline.smembers(_of(name))
        of_many, *of_each = await self._asked(pipeline.execute()) or ((),)
        old = [
            key
            for keys, version in zip(of_each, newest.values(), strict=False)
            for key in keys
            if not key.endswith(f":{version}".encode())
        ]
        await self._free([*of_many, *old])

    async def _on_fact(self, fact: Fact) -> None:
        """Many come at once where a market has begun: those that come while the store is asked are asked about together."""
        self._changed[str(fact.data["symbol"])] = str(fact.data["data_version"])
        if self._freeing is None or self._freeing.done():
            self._freeing = asyncio.create_task(self._free_changed())

    async def _free_changed(self) -> None:
        while self._changed:
            some = dict(islice(self._changed.items(), _AT_A_TIME))
            for symbol in some:
                del self._changed[symbol]
            await self.free(some)

    async def _free(self, keys: list[bytes]) -> None:
        if not keys:
            return
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.unlink(*keys)
        pipeline.zrem(_ALL, *keys)
        for key in keys:
            pipeline.srem(_of(key.decode("ascii").split(":")[1]), key)
        await self._asked(pipeline.execute())

    async def _asked(self, call: Awaitable[Any]) -> Any:
        """None when the store does not answer in time."""
        if time.monotonic() < self._paused_until:
            if asyncio.iscoroutine(call):
                call.close()
            return None
        try:
            async with asyncio.timeout(_DEADLINE_S):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            self._found.labels("failure").inc()
            _log.warning("the store of results does not answer", error=type(error).__name__)
            return None


def _of(symbol: str) -> str:
    return f"indicators:of:{symbol}"
