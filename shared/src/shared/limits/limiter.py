"""The limiter: one script call decides every policy of a request, on the store's clock, all or nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.limits.plans import SECONDS_A_DAY, Burst, Limits

__all__ = ["Decision", "Limiter", "Outcome", "Policy", "burst_policy", "policies_of"]

_MICROSECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit on one subject. `name` is what clients read; `cost` is what this request would spend, 0 only looks."""

    name: str
    kind: Literal["burst", "day"]
    subject: str
    quota: int
    window_s: int
    cost: int = 1

    @property
    def key(self) -> str:
        return f"limits:{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reset_s`: whole seconds until the policy's quota is whole again; `retry_s`: until a violated one can admit this cost."""

    policy: Policy
    violated: bool
    remaining: int
    reset_s: int
    retry_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    admitted: bool
    outcomes: tuple[Outcome, ...]

    @property
    def violated(self) -> tuple[str, ...]:
        return tuple(outcome.policy.name for outcome in self.outcomes if outcome.violated)

    @property
    def retry_after_s(self) -> int:
        return max((outcome.retry_s for outcome in self.outcomes if outcome.violated), default=0)


def burst_policy(name: str, subject: str, burst: Burst, cost: int = 1) -> Policy:
    return Policy(name, "burst", subject, burst.quota, burst.window_s, cost)


def policies_of(limits: Limits, subject: str, *, burst_cost: int = 1, day_cost: int = 1) -> list[Policy]:
    """The policies a tier's limits put on a subject; unlimited ones are absent."""
    policies = []
    if limits.burst is not None:
        policies.append(burst_policy("burst", subject, limits.burst, burst_cost))
    if limits.day is not None:
        policies.append(Policy("day", "day", subject, limits.day, SECONDS_A_DAY, day_cost))
    return policies


class Limiter:
    """Raises `Unavailable` while the store is away: without it there is no exact answer, and this one fails closed."""

    def __init__(self, redis: Redis, *, slot_lease_ms: int = 60_000) -> None:
        self._redis = redis
        self._slot_lease_ms = slot_lease_ms
        self._decide = redis.register_script(_script("decide.lua"))
        self._take_slot = redis.register_script(_script("take_slot.lua"))

    async def decide(self, policies: Sequence[Policy], now: datetime | None = None) -> Decision:
        """`now` replaces the store's clock."""
        if not policies:
            return Decision(admitted=True, outcomes=())
        arguments: list[str | int] = ["" if now is None else round(now.timestamp() * _MICROSECOND)]
        for policy in policies:
            arguments += [policy.kind, policy.quota, policy.window_s * _MICROSECOND, policy.cost]
        try:
            admitted, *numbers = await self._decide(keys=[policy.key for policy in policies], args=arguments)
        except (RedisError, OSError) as error:
            raise Unavailable("the quota store does not answer") from error
        rows = zip(policies, numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True)
        outcomes = tuple(
            Outcome(policy, bool(violated), remaining, _seconds(reset), _seconds(retry))
            for policy, violated, remaining, reset, retry in rows
        )
        return Decision(admitted=bool(admitted), outcomes=outcomes)

    async def take_slot(self, subject: str, limit: int, holder: str) -> bool:
        """Takes a concurrency slot for a minute, or renews the holder's own; `release_slot` gives it back."""
        try:
            taken = await self._take_slot(keys=[f"limits:slots:{subject}"], args=[limit, holder, self._slot_lease_ms])
        except (RedisError, OSError) as error:
            raise Unavailable("the quota store does not answer") from error
        return bool(taken)

    async def release_slot(self, subject: str, holder: str) -> None:
        try:
            await self._redis.zrem(f"limits:slots:{subject}", holder)
        except (RedisError, OSError) as error:
            raise Unavailable("the quota store does not answer") from error


def _seconds(microseconds: int) -> int:
    return math.ceil(microseconds / _MICROSECOND)


def _script(name: str) -> str:
    return files("shared.limits").joinpath(name).read_text("utf-8")
