"""The plan book on its way from ratelimit-service, through Redis, to everyone who enforces it."""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.events import DeliverPolicy, EventBus, Fact
from shared.limits.plans import PlanBook
from shared.logging import get_logger
from shared.subjects import LIMITS_STREAM, PLAN_SUBJECT

__all__ = ["PLANS_KEY", "PlanWatcher"]

PLANS_KEY = "limits:plans"
_log = get_logger("plans")


class PlanWatcher:
    """Holds the newest plan book this process has seen; a plan fact makes it look again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._book: PlanBook | None = None

    @property
    def book(self) -> PlanBook:
        """`Unavailable` until the first book has been read: without plans nothing is admitted."""
        if self._book is None:
            raise Unavailable("no plans have been published yet")
        return self._book

    async def check(self) -> None:
        """For health."""
        _ = self.book

    async def start(self, bus: EventBus) -> None:
        """Looks now, and after every fact; `book` may still be missing when ratelimit-service has never run."""
        await self.load()
        bus.follow(LIMITS_STREAM, [PLAN_SUBJECT], self._on_plan, on_gap=self.load, deliver=DeliverPolicy.LAST_PER_SUBJECT)

    async def load(self) -> None:
        try:
            text = await self._redis.get(PLANS_KEY)
        except (RedisError, OSError) as error:
            _log.warning("plans not read", error=type(error).__name__)
            return
        if text is not None:
            self._book = PlanBook.model_validate_json(text)

    async def _on_plan(self, _fact: Fact) -> None:
        await self.load()
