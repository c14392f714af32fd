"""Whose counters: of a user, of a tenant, of an address, and of what operators' own services count."""

from ipaddress import IPv6Address, ip_address
from typing import Literal
from uuid import UUID

from shared.errors import InvalidInput
from shared.limits.sharing import address_of

__all__ = ["Kind", "own_subject", "subjects_of"]

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
    return (f"user:{known}",) if kind == "users" else (f"tenant:{known}", f"members:{known}")


def _plain(name: str) -> str:
    """As the gateways read it: an IPv4 address in an IPv6 one is the IPv4 address."""
    address = ip_address(name)
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


def own_subject(name: str, policy: str = "") -> str:
    """Of an operator's own service: none of a user's, and for each policy that is theirs another one."""
    return f"own:{policy}:{name}" if policy else f"own:{name}"
