"""Gateways' limiters over one real store, whose clock and connection a test holds in its hands."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import Unavailable
from shared.limits.counters import MICROSECOND, Counters
from shared.limits.limiter import Decision, Limiter, Purse
from shared.limits.plans import Limits
from shared.scripts import Argument, Part, Script, ScriptConnection, Shared

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Switch:
    """A way to the store that can be cut."""

    def __init__(self, scripts: ScriptConnection) -> None:
        self._scripts = scripts
        self.away = False

    @property
    def connected(self) -> bool:
        return not self.away and self._scripts.connected

    def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> "asyncio.Future[Any]":
        if self.away:
            raise Unavailable("away")
        return self._scripts.call(script, keys, arguments)

    def join(self, shared: Shared, part: Part) -> "asyncio.Future[Any]":
        if self.away:
            raise Unavailable("away")
        return self._scripts.join(shared, part)


class World:
    """`ticks` is how much time has passed, in microseconds; the store's clock may be set otherwise."""

    def __init__(self, scripts: ScriptConnection, limits: Limits, subject: str, gateways: int) -> None:
        self.switch = Switch(scripts)
        self.limits = limits
        self.subject = subject
        self.microseconds = 0
        self.shift = timedelta()
        self.charged: Counter[int] = Counter()
        """Units admitted, by the day (since 1970) that they were taken from."""
        self.gateways = [self._new() for _ in range(gateways)]
        self.counters = Counters(self.switch, self.now)

    def now(self) -> datetime:
        return NOON + timedelta(microseconds=self.microseconds) + self.shift

    def ticks(self) -> float:
        return self.microseconds / MICROSECOND

    def _new(self) -> Limiter:
        """Nothing runs in its background: the test does what would."""
        limiter = Limiter(self.switch, ticks=self.ticks, now=self.now)
        limiter._running = True
        return limiter

    async def open(self) -> None:
        """Every gateway has heard of the store, and of each other."""
        await self.look()
        self.microseconds += 600 * MICROSECOND
        await self.look()
        await self.look()

    async def look(self) -> None:
        for gateway in self.gateways:
            await gateway._presence.look()

    def purse(self, gateway: Limiter) -> Purse:
        return gateway.purse(self.subject, self.limits)

    async def spend(self, at: int, day_cost: int = 1) -> Decision:
        """As the edge does; then what it left to the background is done."""
        gateway = self.gateways[at]
        purse = self.purse(gateway)
        decision = gateway.spend_now(purse, day_cost)
        if decision is None:
            decision = await gateway.spend(purse, day_cost)
        if decision.admitted:
            self.charged[purse._day] += day_cost
        await asyncio.gather(*gateway._asking)
        return decision

    async def give_back(self, at: int, *, all_of_it: bool = False) -> None:
        gateway = self.gateways[at]
        purse = self.purse(gateway)
        if all_of_it:
            for record, left in purse.over(self.ticks(), all_of_them=True):
                gateway._return(record, left)
        gateway.give_back()
        if not self.switch.away:
            await self.counters.restore([])  # the answers before this one have come

    def crash(self, at: int) -> None:
        self.gateways[at] = self._new()

    async def used(self) -> tuple[int, int]:
        """The day of the store's counter, and how much of it."""
        stored = await self.switch._scripts.call(_READ, [f"limits:day:{self.subject}"], [])
        return int(stored[0] or -1), int(stored[1] or 0)


_READ = Script('return redis.call("HMGET", KEYS[1], "day", "used")')
