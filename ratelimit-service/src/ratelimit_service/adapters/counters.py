"""The gateways' counters, read and set back."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.events import EventBus
from shared.limits.keys import LEASES, counter
from shared.limits.plans import SECONDS_A_DAY
from shared.subjects import COUNTERS_SUBJECT

__all__ = ["RedisCounters"]

_AWAY = "the quota store does not answer"
_KINDS = ("day", "burst")

# KEYS: limits:leases, then counters. A lease's record ends with its counter: without it, what a gateway gives back is credited to
# nobody, so that a quota that was set back cannot grow beyond itself.
_CLEAR = """
local counters = {}
for i = 2, #KEYS do
  counters[KEYS[i]] = true
  redis.call("DEL", KEYS[i])
end
for _, record in ipairs(redis.call("ZRANGE", KEYS[1], 0, -1)) do
  if counters[string.match(record, "%S+$")] then
    redis.call("ZREM", KEYS[1], record)
  end
end
return redis.status_reply("OK")
"""


class RedisCounters:
    def __init__(self, redis: Redis, bus: EventBus) -> None:
        self._redis = redis
        self._bus = bus
        self._clear = redis.register_script(_CLEAR)

    async def used(self, subjects: Sequence[str]) -> Mapping[str, int]:
        try:
            async with self._redis.pipeline() as pipe:
                pipe.time()
                for subject in subjects:
                    pipe.hmget(counter("day", subject), "day", "used")
                (seconds, _), *stored = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        today = seconds // SECONDS_A_DAY
        return {subject: int(used) for subject, (day, used) in zip(subjects, stored, strict=True) if _is(day, today)}

    async def clear(self, subjects: Sequence[str]) -> None:
        counters = [counter(kind, subject) for kind, subject in product(_KINDS, subjects)]
        try:
            await self._clear(keys=[LEASES, *counters])
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        await self._bus.publish(COUNTERS_SUBJECT, {"subjects": list(subjects)})


def _is(day: Any, today: int) -> bool:
    return day is not None and int(day) == today
