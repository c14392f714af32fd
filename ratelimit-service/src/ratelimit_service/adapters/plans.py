"""The plan file on disk, and the book in Redis with its fact on NATS."""

from importlib.resources import files
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimit_service.domain.model import Source
from ratelimit_service.domain.ports import StoreState
from shared.errors import Unavailable
from shared.events import EventBus
from shared.limits.book import PLANS_KEY
from shared.limits.plans import PlanBook
from shared.subjects import COUNTERS_SUBJECT, LIMITS_STREAM, PLAN_SUBJECT

__all__ = ["FilePlans", "PublishedPlans"]

_MONTH_S = 30 * 86_400
_STREAM_BYTES = 1 << 20
_STATE_KEY = f"{PLANS_KEY}:state"
_AWAY = "the store of the plans does not answer"

# Over the revision that the writer has seen, or not at all. KEYS: the book, its state; ARGV: that revision ("" for none), the new
# one, the book.
_WRITE = """
local written = redis.call("EXISTS", KEYS[1]) == 1 and redis.call("HGET", KEYS[2], "written") or ""
if written ~= ARGV[1] then
  return 0
end
redis.call("SET", KEYS[1], ARGV[3])
redis.call("HSET", KEYS[2], "written", ARGV[2])
return 1
"""


class FilePlans:
    """A file of the operator's, or the one that ships."""

    def __init__(self, path: Path | None) -> None:
        self.source: Source = "file" if path is not None else "shipped"
        self._place = path or files("ratelimit_service") / "plans.yaml"

    def text(self) -> str:
        return self._place.read_text("utf-8")


class PublishedPlans:
    """`limits:plans` is the book, and `limits:plans:state` a hash of the revision written there and of the one that was told."""

    def __init__(self, redis: Redis, bus: EventBus) -> None:
        self._redis = redis
        self._bus = bus
        self._write = redis.register_script(_WRITE)

    async def declare(self) -> None:
        """The stream, which tells of counters that were set back as well."""
        subjects = [PLAN_SUBJECT, COUNTERS_SUBJECT]
        await self._bus.streams.declare(LIMITS_STREAM, subjects, max_age_s=_MONTH_S, max_bytes=_STREAM_BYTES)

    async def state(self) -> StoreState:
        try:
            async with self._redis.pipeline() as pipe:
                pipe.exists(PLANS_KEY)
                pipe.hmget(_STATE_KEY, "written", "told")
                there, (written, told) = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        return StoreState((written or b"").decode() if there else None, told.decode() if told is not None else None)

    async def write(self, book: PlanBook, revision: str, *, over: str | None) -> bool:
        try:
            written = await self._write(keys=[PLANS_KEY, _STATE_KEY], args=[over or "", revision, _text(book)])
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        return bool(written)

    async def tell(self, revision: str) -> None:
        await self._bus.publish(PLAN_SUBJECT, {"version": revision})
        try:
            await self._redis.hset(_STATE_KEY, "told", revision)
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error


def _text(book: PlanBook) -> str:
    """Without the rules that are not given, so that a release which does not know them yet can read the rest."""
    return book.model_dump_json(exclude_unset=True, exclude=None if book.overrides else {"overrides"})
