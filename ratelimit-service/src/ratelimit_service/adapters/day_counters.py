"""The counters of the day's quotas in Redis, as `kalpi usage reconcile` reads them (docs/services.md, Redis)."""

from collections.abc import AsyncIterator
from datetime import date

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.limits.keys import EPOCH, LEASES, counter

__all__ = ["DayCounters"]

_COUNTERS = counter("day", "")
_CHUNK = 1000
_EPOCH = date(1970, 1, 1)
_OF_SUBJECTS = ("user:", "tenant:")


class DayCounters:
    """Everything is Unavailable while Redis is away. It is read in pieces, while gateways go on spending."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def used(self, day: date) -> dict[str, int]:
        """By subject; those whose counter is of another day are not among them."""
        found: dict[str, int] = {}
        try:
            async for keys in self._keys():
                pipeline = self._redis.pipeline(transaction=False)
                for key in keys:
                    pipeline.hmget(key, ["day", "used"])
                for key, (of, used) in zip(keys, await pipeline.execute(), strict=True):
                    if of is not None and int(of) == (day - _EPOCH).days:
                        found[key.decode().removeprefix(_COUNTERS)] = int(used)
        except (RedisError, OSError) as error:
            raise Unavailable("the counters in Redis cannot be read") from error
        return found

    async def leased(self, day: date) -> dict[str, int]:
        """Units that gateways have taken ahead and may not have spent, by subject. A record is `name day units counter`."""
        found: dict[str, int] = {}
        try:
            async for record, _ in self._redis.zscan_iter(LEASES, count=_CHUNK):
                _, of, units, counter = record.decode().split(" ")
                subject = counter.removeprefix(_COUNTERS)
                if int(of) == (day - _EPOCH).days:
                    found[subject] = found.get(subject, 0) + int(units)
        except (RedisError, OSError) as error:
            raise Unavailable("the leases in Redis cannot be read") from error
        return found

    async def epoch(self) -> str:
        """The mark that gateways put into the store; empty where there is none."""
        try:
            mark = await self._redis.get(EPOCH)
        except (RedisError, OSError) as error:
            raise Unavailable("the counters in Redis cannot be read") from error
        return mark.decode() if isinstance(mark, bytes) else ""

    async def _keys(self) -> AsyncIterator[list[bytes]]:
        keys: list[bytes] = []
        async for key in self._redis.scan_iter(f"{_COUNTERS}*", count=_CHUNK):
            if key.decode().removeprefix(_COUNTERS).startswith(_OF_SUBJECTS):
                keys.append(key)
            if len(keys) == _CHUNK:
                yield keys
                keys = []
        if keys:
            yield keys
