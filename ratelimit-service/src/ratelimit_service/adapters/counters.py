"""The gateways' counters in Redis, read and set back (docs/services.md, Redis)."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import product

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.events import EventBus
from shared.limits.keys import EPOCH, LEASES, counter, members_of
from shared.subjects import COUNTERS_SUBJECT

__all__ = ["RedisCounters", "ToldGateways"]

_COUNTERS = counter("day", "")
_KINDS = ("day", "burst")
_OF_CALLERS = ("user:", "tenant:", members_of(""))
_CHUNK = 1000
_EPOCH = date(1970, 1, 1)

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
    """Everything is Unavailable while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._clear = redis.register_script(_CLEAR)

    async def used(self, day: date, subjects: Sequence[str]) -> dict[str, int]:
        """Of the day's quotas, by subject; those whose counter is of another day are not among them."""
        with _away():
            pipeline = self._redis.pipeline(transaction=False)
            for subject in subjects:
                pipeline.hmget(counter("day", subject), "day", "used")
            found = zip(subjects, await pipeline.execute(), strict=True)
        return {subject: int(used) for subject, (of, used) in found if of is not None and int(of) == (day - _EPOCH).days}

    async def used_by_all(self, day: date) -> dict[str, int]:
        """The same of all callers. It is read in pieces, while gateways go on spending."""
        found: dict[str, int] = {}
        async for subjects in self._subjects():
            found |= await self.used(day, subjects)
        return found

    async def leased(self, day: date) -> dict[str, int]:
        """Units that gateways have taken ahead and may not have spent, by subject. A record is `name day units counter`."""
        found: dict[str, int] = {}
        with _away():
            async for record, _ in self._redis.zscan_iter(LEASES, count=_CHUNK):
                _, of, units, key = record.decode().split(" ")
                subject = key.removeprefix(_COUNTERS)
                if int(of) == (day - _EPOCH).days:
                    found[subject] = found.get(subject, 0) + int(units)
        return found

    async def epoch(self) -> str:
        """The mark that gateways put into the store; empty where there is none."""
        with _away():
            mark = await self._redis.get(EPOCH)
        return mark.decode() if isinstance(mark, bytes) else ""

    async def clear(self, subjects: Sequence[str]) -> None:
        """Of the day and of bursts, with what is leased of them."""
        with _away():
            await self._clear(keys=[LEASES, *(counter(kind, subject) for kind, subject in product(_KINDS, subjects))])

    async def _subjects(self) -> AsyncIterator[list[str]]:
        """Of all callers that have a counter of a day, so many at a time."""
        some: list[str] = []
        with _away():
            async for key in self._redis.scan_iter(f"{_COUNTERS}*", count=_CHUNK):
                subject = key.decode().removeprefix(_COUNTERS)
                if subject.startswith(_OF_CALLERS):
                    some.append(subject)
                if len(some) == _CHUNK:
                    yield some
                    some = []
        if some:
            yield some


class ToldGateways:
    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def forget(self, subjects: Sequence[str]) -> None:
        await self._bus.publish(COUNTERS_SUBJECT, {"subjects": list(subjects)})


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable("the quota store does not answer") from error
