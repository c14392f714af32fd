"""The response cache in Redis, shared by all gateways.

Direct-mapped: a key's hash names one of so many slots, and a newer answer takes the slot of an older one. So its size is bounded
without bookkeeping (1,024 × 512 KiB), and no client can crowd the quota counters out of the store. A slot holds a line with the
key, a line of headers as JSON, and the body.
"""

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.domain.ports import Answer
from shared.logging import get_logger
from shared.metrics import Metrics

__all__ = ["LONGEST", "RedisAnswers"]

TTL_S = 30 * 60
SLOTS = 1024
LONGEST = 512 * 1024
_log = get_logger("cache")


class RedisAnswers:
    def __init__(self, redis: Redis, metrics: Metrics) -> None:
        self._redis = redis
        self._failures = metrics.counter("kalpi_gateway_cache_failures", "Look-ups and stores the cache did not answer")

    async def get(self, key: str) -> Answer | None:
        try:
            kept = await self._redis.get(_slot(key))
        except (RedisError, OSError) as error:
            self._count(error)
            return None
        return _decode(key, kept) if isinstance(kept, bytes) else None

    async def put(self, key: str, answer: Answer) -> None:
        if len(answer.body) > LONGEST:
            return
        try:
            await self._redis.set(_slot(key), _encode(key, answer), ex=TTL_S)
        except (RedisError, OSError) as error:
            self._count(error)

    def _count(self, error: Exception) -> None:
        self._failures.inc()
        _log.warning("the cache does not answer", error=type(error).__name__)


def _slot(key: str) -> str:
    return f"cache:{int(key[:8], 16) % SLOTS}"


def _encode(key: str, answer: Answer) -> bytes:
    head = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return b"\n".join([key.encode("ascii"), orjson.dumps(head), answer.body])


def _decode(key: str, kept: bytes) -> Answer | None:
    """None when the slot holds the answer to another request."""
    owner, head, body = kept.split(b"\n", 2)
    if owner != key.encode("ascii"):
        return None
    return Answer(tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(head)), body)
