"""Whose request this is, by address: limits for callers without credentials count by it."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

__all__ = ["Network", "client_address"]

Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: bytes | None, trusted: Sequence[Network]) -> str:
    """`peer` is who connected. What X-Forwarded-For adds is believed from the right, as far as the proxies are trusted:

    each proxy appends the address it was called from, so what stands left of one that is not trusted may be invented.
    """
    address = peer
    hops = (forwarded_for or b"").decode("latin-1").split(",")
    while hops and _is_trusted(address, trusted):
        hop = hops.pop().strip()
        try:
            address = str(ip_address(hop))
        except ValueError:
            break
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
