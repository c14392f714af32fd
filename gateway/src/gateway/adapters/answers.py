"""The response cache in Redis, shared by all gateways: a line of headers as JSON, then the body."""

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.domain.ports import Answer
from shared.logging import get_logger
from shared.metrics import Metrics

__all__ = ["RedisAnswers"]

TTL_S = 30 * 60
_log = get_logger("cache")


class RedisAnswers:
    def __init__(self, redis: Redis, metrics: Metrics) -> None:
        self._redis = redis
        self._failures = metrics.counter("kalpi_gateway_cache_failures", "Look-ups and stores the cache did not answer")

    async def get(self, key: str) -> Answer | None:
        try:
            kept = await self._redis.get(_name(key))
        except (RedisError, OSError) as error:
            self._count(error)
            return None
        return _decode(kept) if isinstance(kept, bytes) else None

    async def put(self, key: str, answer: Answer) -> None:
        try:
            await self._redis.set(_name(key), _encode(answer), ex=TTL_S)
        except (RedisError, OSError) as error:
            self._count(error)

    def _count(self, error: Exception) -> None:
        self._failures.inc()
        _log.warning("the cache does not answer", error=type(error).__name__)


def _name(key: str) -> str:
    return f"cache:{key}"


def _encode(answer: Answer) -> bytes:
    head = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return orjson.dumps(head) + b"\n" + answer.body


def _decode(kept: bytes) -> Answer:
    head, _, body = kept.partition(b"\n")
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(head))
    return Answer(headers, body)
