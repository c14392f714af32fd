"""Whose counters a caller spends from, and how much of what the tier allows is theirs.

alone    all of it, from the user's own
shared   all of it, with the other members from the tenant's
split    a part of it, one of as many as the tenant has members, from the user's own

What the tier allows is for some tenants another, for a while or for good: their override.
"""

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from shared.limits.plans import Plan, PlanBook
from shared.principal import Principal

__all__ = ["address_of", "plan_for", "subject_of"]


def subject_of(principal: Principal) -> str:
    """Of every policy, and of the slots of requests at a time."""
    return f"tenant:{principal.tenant_id}" if principal.quota == "shared" else f"user:{principal.user_id}"


def plan_for(principal: Principal, book: PlanBook, now: datetime) -> Plan | None:
    """What the caller may do at this moment, None for a tier that the book does not have.

    Of limits it is the caller's own part, where the tenant splits them; what the tier lets them use is not divided.
    """
    plan = book.plan_of(principal.tier, principal.tenant_id, now)
    if plan is None or principal.quota != "split" or principal.members is None:
        return plan
    return plan.model_copy(update={"limits": plan.limits.part(principal.members)})


@lru_cache(10_000)
def address_of(client_ip: str) -> str:
    """Who is counted as one client: an IPv4 address, an IPv6 address's /64, in which each device has as many as it likes."""
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:
        return client_ip
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)
