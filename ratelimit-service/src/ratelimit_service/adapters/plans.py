"""The plan file on disk, and the book in Redis with its fact on NATS."""

from importlib.resources import files
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from shared.limits.plans import PlanBook
from shared.subjects import LIMITS_STREAM, PLAN_SUBJECT

__all__ = ["FilePlans", "PublishedPlans"]

_MONTH_S = 30 * 86_400
_STREAM_BYTES = 1 << 20


class FilePlans:
    """A file of the operator's, or the one that ships."""

    def __init__(self, path: Path | None) -> None:
        self._source = path or files("ratelimit_service") / "plans.yaml"

    def text(self) -> str:
        return self._source.read_text("utf-8")


class PublishedPlans:
    def __init__(self, redis: Redis, bus: EventBus) -> None:
        self._redis = redis
        self._bus = bus

    async def declare(self) -> None:
        await self._bus.streams.declare(LIMITS_STREAM, [PLAN_SUBJECT], max_age_s=_MONTH_S, max_bytes=_STREAM_BYTES)

    async def publish(self, book: PlanBook, version: str) -> None:
        try:
            await self._redis.set(PLANS_KEY, book.model_dump_json())
        except (RedisError, OSError) as error:
            raise Unavailable("the plans cannot be written to the store") from error
        await self._bus.publish(PLAN_SUBJECT, {"version": version})

    async def is_kept(self) -> bool:
        try:
            return bool(await self._redis.exists(PLANS_KEY))
        except (RedisError, OSError) as error:
            raise Unavailable("the store does not answer") from error
