"""Whose request this is, by address: limits for callers without credentials count by it, and keys may be bound to some."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["AllowList", "Network", "client_address"]

Network = IPv4Network | IPv6Network

_MAPPED = "::ffff:"


def client_address(peer: str, forwarded_for: bytes | None, trusted: Sequence[Network]) -> str:
    """`peer` is who connected. What X-Forwarded-For adds is believed from the right, as far as the proxies are trusted:

    each proxy appends the address it was called from, so what stands left of one that is not trusted may be invented.
    An IPv4 address in the clothes of an IPv6 one (RFC 4291, section 2.5.5.2) is the IPv4 address, so that nobody has two.
    """
    address = _text_of(peer) if peer.lower().startswith(_MAPPED) else peer
    if not trusted:
        return address
    hops = (forwarded_for or b"").decode("latin-1").split(",")
    while hops and _is_trusted(address, trusted):
        hop = hops.pop().strip()
        try:
            address = str(_address(hop))
        except ValueError:
            break
    return address


class AllowList:
    """The networks that a key may be used from, ready to be asked on every request."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._masked: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for network in networks:
            self._masked[network.version].append((int(network.netmask), int(network.network_address)))
        self._newest = ""

    def admits(self, client_ip: str) -> bool:
        """False too for what is no address (a client without one, on a socket of this machine)."""
        # a key is mostly used from one place, over and over
        if client_ip and client_ip == self._newest:
            return True
        try:
            address = _address(client_ip)
        except ValueError:
            return False
        number = int(address)
        admitted = any(number & mask == network for mask, network in self._masked[address.version])
        if admitted:
            self._newest = client_ip
        return admitted


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _text_of(peer: str) -> str:
    try:
        return str(_address(peer))
    except ValueError:
        return peer


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = _address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
