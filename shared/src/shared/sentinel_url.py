"""`redis+sentinel://`: the address of a store whose primary is whoever Sentinel says.

    redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/database][?sentinel_username=…&sentinel_password=…]

The hosts are those of the Sentinels, user and password those of the store; `rediss+sentinel` speaks TLS with all of them. Other
options are redis-py's own, of the store. redis-py has no such URL; others who have one write it like this.
"""

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["SCHEMES", "SentinelUrl", "parse_sentinel_url"]

SCHEMES = ("redis+sentinel", "rediss+sentinel")
_PORT = 26379
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


class SentinelUrl(NamedTuple):
    """`store` is redis-py's URL of the store itself, with a host that stands for whoever is the primary; `credentials` are for
    the Sentinels."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    store: str
    credentials: dict[str, str]


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """None for a URL of another scheme. A ValueError repeats nothing of it, for a piece may be one of a password."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES:
        return None
    # not urlsplit, which takes a list with an IPv6 address for a wrong one
    place, _, query = rest.partition("?")
    members, _, path = place.partition("/")
    user, at, hosts = members.rpartition("@")
    service, _, database = path.partition("/")
    if not service:
        raise ValueError("it names no service of Sentinel's")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("the database is not a number")
    options = parse_qsl(query, keep_blank_values=True)
    of_store = urlencode([(name, value) for name, value in options if name not in _OF_SENTINELS])
    store = f"{scheme.lower().partition('+')[0]}://{user}{at}primary/{database or 0}{of_store and '?'}{of_store}"
    credentials = {_OF_SENTINELS[name]: value for name, value in options if name in _OF_SENTINELS}
    return SentinelUrl(tuple(map(_address, hosts.split(","))), service, store, credentials)


def _address(member: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{member}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not the host and port of a Sentinel") from None
    if not host or parts.path:
        raise ValueError("not the host and port of a Sentinel")
    return host, port or _PORT
