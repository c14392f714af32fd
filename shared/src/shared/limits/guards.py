"""What one address may try without credentials: so many, then ever longer waits (docs/adr/0023)."""

import math
from asyncio import Future
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import RateLimited, Unavailable
from shared.limits.counters import MICROSECOND, Now, Scripts, clock_argument, load_script
from shared.limits.plans import Guard
from shared.limits.telling import LimiterMetrics
from shared.scripts import Argument

__all__ = ["Attempt", "Door", "Guards"]

Door = Literal["failed_logins", "registrations", "mails"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that has passed, and is paid for."""

    key: str
    rule: Guard
    strike: bool


class Guards:
    """`now` replaces the store's clock."""

    def __init__(self, scripts: Scripts, *, metrics: LimiterMetrics | None = None, now: Now | None = None) -> None:
        self._scripts = scripts
        self._told = metrics or LimiterMetrics()
        self._now = now

    async def enter(self, door: Door, address: str, rule: Guard) -> Attempt | None:
        """RateLimited while the address has to wait. Without the store: Unavailable, or None where the rule is open."""
        key = f"limits:guard:{door}:{address}"
        sizes = [rule.window_s, rule.longest_s, rule.forget_s]
        arguments: list[Argument] = [clock_argument(self._now), rule.quota, *(seconds * MICROSECOND for seconds in sizes)]
        try:
            passed, strike, wait = await self._scripts.call(_GUARD, [key], arguments)
        except Unavailable:
            if rule.outage == "open" or rule.shadow:
                return None
            raise
        if not passed and rule.shadow:
            self._told.shadowed.labels(door).inc()
            return None
        if not passed:
            self._told.guarded.labels(door).inc()
            raise RateLimited("too many attempts from this address", math.ceil(wait / MICROSECOND), ["ip"])
        return Attempt(key, rule, bool(strike))

    def pardon(self, attempt: Attempt) -> None:
        """It did not fail. Nobody waits for it; where it cannot be told, the attempt stays paid for."""
        rule, now = attempt.rule, clock_argument(self._now)
        arguments: list[Argument] = [now, rule.quota, rule.window_s * MICROSECOND, int(attempt.strike)]
        try:
            self._scripts.call(_PARDON, [attempt.key], arguments).add_done_callback(_read)
        except Unavailable:
            return


def _read(answer: "Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()


_GUARD, _PARDON = load_script("guard"), load_script("pardon")
