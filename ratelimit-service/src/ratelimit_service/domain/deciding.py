"""Decisions for those who stand behind the same limits without a gateway before them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ratelimit_service.domain.control import InForce
from ratelimit_service.domain.errors import NoPlan
from ratelimit_service.domain.subjects import own_subject
from shared.clock import Clock
from shared.limits.limiter import Decision, Limiter, Policy, policies_of
from shared.limits.plans import SECONDS_A_DAY, Plan
from shared.limits.sharing import plan_for, subject_of
from shared.principal import Principal

__all__ = ["Deciding", "OwnPolicy"]


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """A limit of an operator's own service; of a day's there is no window but the day."""

    name: str
    kind: Literal["burst", "day"]
    quota: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Deciding:
    """All of the policies, or nothing is spent. `cost` is what the day is debited, a burst at most one; 0 only looks.

    Unavailable while the counters are away.
    """

    limiter: Limiter
    plans: InForce
    clock: Clock

    async def user(self, principal: Principal, cost: int) -> Decision:
        """From the counters that a gateway spends from for this caller. NoPlan."""
        limits = self.plan(principal).limits
        return await self.limiter.decide(policies_of(limits, subject_of(principal), burst_cost=min(cost, 1), day_cost=cost))

    async def tier(self, subject: str, tier: str, cost: int) -> Decision:
        """What the tier allows, of a subject that is no user. NoPlan."""
        limits = self.plan(Principal(kind="user", user_id=subject, tier=tier)).limits
        return await self.limiter.decide(policies_of(limits, own_subject(subject), burst_cost=min(cost, 1), day_cost=cost))

    async def own(self, subject: str, policies: Sequence[OwnPolicy], cost: int) -> Decision:
        return await self.limiter.decide([_policy(subject, one, cost) for one in policies])

    def plan(self, principal: Principal) -> Plan:
        """NoPlan."""
        plan = plan_for(principal, self.plans.book, self.clock())
        if plan is None:
            raise NoPlan(principal.tier)
        return plan


def _policy(subject: str, one: OwnPolicy, cost: int) -> Policy:
    window_s = SECONDS_A_DAY if one.kind == "day" else one.window_s
    return Policy(one.name, one.kind, own_subject(subject, one.name), one.quota, window_s, cost)
