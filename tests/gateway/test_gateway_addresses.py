"""Whose request it is: the last address that a trusted proxy vouches for."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.addresses import AllowList, Network, client_address

Address = IPv4Address | IPv6Address
TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", b"198.51.100.1", "203.0.113.9"),
        ("10.1.1.1", b"198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", b"1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", b"1.2.3.4, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.1.1.1", b"10.3.3.3,10.2.2.2", "10.3.3.3"),
        ("10.1.1.1", None, "10.1.1.1"),
        ("10.1.1.1", b"", "10.1.1.1"),
        ("10.1.1.1", b"nonsense", "10.1.1.1"),
        ("10.1.1.1", b"198.51.100.1, nonsense, 10.2.2.2", "10.2.2.2"),
        ("fd00::1", b"2001:DB8:0::1", "2001:db8::1"),
        ("", b"198.51.100.1", ""),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
        ("::FFFF:cb00:7109", None, "203.0.113.9"),
        ("::ffff:10.1.1.1", b"198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", b"::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:nonsense", None, "::ffff:nonsense"),
    ],
)
def test_an_address_is_believed_as_far_as_the_proxies_are_trusted(peer: str, forwarded_for: bytes | None, expected: str) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == expected


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert client_address("10.1.1.1", b"198.51.100.1", []) == "10.1.1.1"


@pytest.mark.parametrize(
    ("networks", "admitted", "refused"),
    [
        (["192.0.2.7/32"], ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.8", "::192.0.2.7", "::c000:207"]),
        (["192.0.2.0/24"], ["192.0.2.0", "192.0.2.255"], ["192.0.3.0", "192.0.1.255", "2001:db8::1"]),
        (["2001:db8::/32"], ["2001:db8::", "2001:DB8:ffff::1"], ["2001:db9::", "2001:db7:ffff::", "192.0.2.1"]),
        (["192.0.2.7/32", "10.0.0.0/8", "::1/128"], ["10.1.2.3", "::1", "192.0.2.7"], ["11.0.0.0", "::2"]),
        (["0.0.0.0/0"], ["203.0.113.1", "::ffff:203.0.113.1"], ["::1"]),
        (["::/0"], ["::1"], ["203.0.113.1", "::ffff:203.0.113.1"]),
    ],
)
def test_an_allow_list_admits_the_addresses_of_its_networks(networks: list[str], admitted: list[str], refused: list[str]) -> None:
    allowed = AllowList(map(ip_network, networks))
    for _ in range(2):
        assert [address for address in admitted if not allowed.admits(address)] == []
        assert [address for address in refused if allowed.admits(address)] == []


def test_an_allow_list_admits_nothing_that_is_no_address() -> None:
    everywhere = AllowList([ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert [text for text in ("", " ", "localhost", "192.0.2", "192.0.2.1,192.0.2.1") if everywhere.admits(text)] == []


@given(st.ip_addresses(), st.lists(st.ip_addresses(network=None).map(ip_network), max_size=3), st.integers(0, 32))
def test_it_says_what_the_networks_themselves_say(address: Address, networks: list[Network], wider: int) -> None:
    networks = [network.supernet(min(wider, network.prefixlen)) for network in networks]
    plain = (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
    assert AllowList(networks).admits(str(address)) == any(plain in network for network in networks)
