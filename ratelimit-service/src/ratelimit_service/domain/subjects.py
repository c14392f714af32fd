"""Whose counters: of a user, of a tenant, of an address, and of what operators' own services count."""

from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Literal
from uuid import UUID

from shared.errors import InvalidInput
from shared.limits.keys import members_of
from shared.limits.plans import PlanBook
from shared.limits.sharing import address_of

__all__ = ["Kind", "counts_day", "is_together", "own_subject", "subjects_of"]

Kind = Literal["users", "tenants", "addresses"]


def subjects_of(kind: Kind, name: str) -> tuple[str, ...]:
    """What the gateways count under (`shared.limits`): a tenant's are those its members share, and those of all of them together;
    an address's those without credentials, and those with. InvalidInput for a name that is none of that kind."""
    try:
        if kind == "addresses":
            address = address_of(_plain(name))
            return f"ip:{address}", f"callers:{address}"
        known = str(UUID(name))
    except ValueError:
        wanted = "an IP address" if kind == "addresses" else "an id"
        raise InvalidInput.field("path", "name", msg=f"not {wanted}") from None
    return (f"user:{known}",) if kind == "users" else (f"tenant:{known}", members_of(known))


def is_together(subject: str) -> bool:
    """Whether it is what all members of a tenant spend together: counted of every tenant, limited for a few."""
    return subject.startswith(members_of(""))


def counts_day(subject: str, tier: str, book: PlanBook, now: datetime) -> bool:
    """Whether the gateways have a counter of its day: whether there is a quota, as far as its tier and its own name tell."""
    kind, _, name = subject.partition(":")
    plan = book.plan_of(tier, "" if kind == "user" else name, now)
    return plan is not None and (plan.limits.tenant if is_together(subject) else plan.limits.day) is not None


def _plain(name: str) -> str:
    """As the gateways read it: an IPv4 address in an IPv6 one is the IPv4 address."""
    address = ip_address(name)
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


def own_subject(name: str, policy: str = "") -> str:
    """Of an operator's own service: none of a user's, and for each policy that is theirs another one."""
    return f"own:{policy}:{name}" if policy else f"own:{name}"
