"""What a caller has used today, read from the counters the gateways spend from."""

from dataclasses import dataclass, replace

from shared.limits.limiter import Limiter, Outcome, policies_of
from shared.limits.plans import Limits

__all__ = ["PolicyUse", "usage_of"]


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """`reset_s`: seconds until the quota is whole again."""

    name: str
    quota: int
    used: int
    remaining: int
    window_s: int
    reset_s: int


async def usage_of(limiter: Limiter, limits: Limits, subject: str) -> list[PolicyUse]:
    """Each limited policy of the subject; looking costs nothing. Unavailable while the counters are away."""
    looking = [replace(policy, cost=0) for policy in policies_of(limits, subject)]
    decision = await limiter.decide(looking)
    return [_use(outcome) for outcome in decision.outcomes]


def _use(outcome: Outcome) -> PolicyUse:
    policy = outcome.policy
    return PolicyUse(
        name=policy.name,
        quota=policy.quota,
        used=policy.quota - outcome.remaining,
        remaining=outcome.remaining,
        window_s=policy.window_s,
        reset_s=outcome.reset_s,
    )
