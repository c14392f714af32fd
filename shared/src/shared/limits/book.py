"""The plan book on its way from ratelimit-service, through Redis, to everyone who enforces it."""

import asyncio

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.events import DeliverPolicy, EventBus, Fact
from shared.limits.plans import PlanBook
from shared.logging import get_logger
from shared.subjects import LIMITS_STREAM, PLAN_SUBJECT

__all__ = ["PLANS_KEY", "PlanWatcher"]

PLANS_KEY = "limits:plans"
_RETRY_S = 0.5
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
        await self._read()
        bus.follow(LIMITS_STREAM, [PLAN_SUBJECT], self._on_plan, on_gap=self._load, deliver=DeliverPolicy.LAST_PER_SUBJECT)

    async def _load(self) -> None:
        """Returns once the store has answered: what is missed here is not told again."""
        while True:
            if await self._read():
                return
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> bool:
        try:
            text = await self._redis.get(PLANS_KEY)
        except (RedisError, OSError) as error:
            _log.warning("plans not read", error=type(error).__name__)
            return False
        if text is not None:
            self._take(text)
        return True

    def _take(self, text: str | bytes) -> None:
        try:
            self._book = PlanBook.model_validate_json(text)
        except ValidationError:
            # of another release, which publishes what it can read; reading it again would give the same
            _log.exception("the published plans cannot be understood; those in force stay")

    async def _on_plan(self, _fact: Fact) -> None:
        await self._load()
