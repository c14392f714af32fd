"""Whose request it is: the last address that a trusted proxy vouches for."""

from ipaddress import ip_network

import pytest

from gateway.domain.addresses import client_address

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
    ],
)
def test_an_address_is_believed_as_far_as_the_proxies_are_trusted(peer: str, forwarded_for: bytes | None, expected: str) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == expected


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert client_address("10.1.1.1", b"198.51.100.1", []) == "10.1.1.1"
