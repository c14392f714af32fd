"""Whose counters a caller spends from, and how much of what the tier allows is theirs.

alone    all of it, from the user's own
shared   all of it, with the other members from the tenant's
split    a part of it, one of as many as the tenant has members, from the user's own
"""

from shared.limits.plans import Plan
from shared.principal import Principal

__all__ = ["plan_for", "subject_of"]


def subject_of(principal: Principal) -> str:
    """Of every policy, and of the slots of requests at a time."""
    return f"tenant:{principal.tenant_id}" if principal.quota == "shared" else f"user:{principal.user_id}"


def plan_for(principal: Principal, plan: Plan) -> Plan:
    """With the limits that are this caller's; what the tier lets them use is not divided."""
    if principal.quota != "split" or principal.members is None:
        return plan
    return plan.model_copy(update={"limits": plan.limits.part(principal.members)})
