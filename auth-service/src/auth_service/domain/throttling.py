"""How fast something may be tried, and by what it is counted.

What is tried is charged to its buckets before it is done, all of them or, while one has to wait, none; a success is given back.
A bucket takes so many charges at once, then each one waits twice as long as the one before. What is counted by is a digest under
the server's key, because people type passwords into the wrong field.

    login from here        account and network      four in an hour, then 1 s, 2 s, 4 s … up to five minutes
    login from elsewhere   account, from networks   the same after twelve, wherever they come from
                           it does not know
    address                the client's address     so many a minute, then the same

The owner's network, where the account logged in within thirty days, is held up by neither of the last two: whoever guesses
elsewhere, at this account or at others, delays nobody at home.
"""

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Literal

__all__ = ["KNOWN_FOR", "Bucket", "Charge", "Counting", "Pace", "address_of", "network_of", "seconds_left"]

KNOWN_FOR = timedelta(days=30)
"""How long after a login from it a network is the account's own."""
FORGET_AFTER = timedelta(hours=1)
LONGEST_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pace:
    """After `free` charges in a row the next one waits 1 s, and each after it twice as long, up to `longest`.

    A charge is forgotten when `forget_after` has passed without another, and before that `per_minute` of them each minute in
    which nothing has to wait.
    """

    free: int
    longest: timedelta = LONGEST_WAIT
    forget_after: timedelta = FORGET_AFTER
    per_minute: float = 0.0

    @property
    def waits_s(self) -> list[float]:
        """Seconds after the first charge beyond the free ones, the second, …; the last one is that of all further ones."""
        longest = self.longest.total_seconds()
        return [*(float(2**nth) for nth in range(math.ceil(math.log2(longest)))), longest]

    def is_longest(self, blocked_until: datetime, now: datetime) -> bool:
        return blocked_until - now >= self.longest


GUESSES_FROM_HERE = Pace(free=3)
GUESSES_FROM_ELSEWHERE = Pace(free=12)


@dataclass(frozen=True, slots=True)
class Bucket:
    """`account` is the digest of whose it is, by which all of an account's are found; `policy` is what a refusal names.

    One that does not `refuse` only counts; a `forgiving` one forgets everything at a success, which else takes back its own.
    """

    key: str
    account: str | None
    pace: Pace
    policy: Literal["login", "ip"]
    refuses: bool = True
    forgiving: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """Until when the next one waits, by key: of every bucket when it was `admitted`, else of those that were in its way."""

    admitted: bool
    blocked_until: dict[str, datetime]


class Counting:
    """Which buckets an attempt is charged to. `key` is a secret of the server."""

    def __init__(self, key: bytes, *, failures_per_minute: int, registrations_per_minute: int) -> None:
        self._key = key
        self._failures = Pace(free=failures_per_minute, per_minute=failures_per_minute)
        self._registrations = Pace(free=registrations_per_minute, per_minute=registrations_per_minute)

    def account(self, user_id: object | None, name: str = "") -> str:
        """By the user where there is one, for a name and an address are then the same account's; else by what was typed."""
        return self._digest("user", str(user_id)) if user_id is not None else self._digest("name", name.strip().casefold())

    def login(self, account: str, client_ip: str | None, *, known: bool) -> list[Bucket]:
        here = Bucket(self._digest("here", account, network_of(client_ip)), account, GUESSES_FROM_HERE, "login", forgiving=True)
        elsewhere = Bucket(self._digest("elsewhere", account), account, GUESSES_FROM_ELSEWHERE, "login")
        # the account's own network is not held up by what others do from its address, but failures there count like any
        address = self._of_address("failures", client_ip, self._failures, refuses=not known)
        return [here, *([] if known else [elsewhere]), *address]

    def change(self, account: str) -> list[Bucket]:
        """Guesses at the current password by who holds a session: apart from logins, which others can fail."""
        return [Bucket(self._digest("change", account), account, GUESSES_FROM_HERE, "login", forgiving=True)]

    def registration(self, client_ip: str | None) -> list[Bucket]:
        return self._of_address("registrations", client_ip, self._registrations)

    def forgotten(self, client_ip: str | None) -> list[Bucket]:
        """Asking for a mail costs an address as much as registering does."""
        return self._of_address("forgotten", client_ip, self._registrations)

    def _of_address(self, kind: str, client_ip: str | None, pace: Pace, *, refuses: bool = True) -> list[Bucket]:
        # what no client sent, as the seeding of a database, has no address
        return [Bucket(self._digest(kind, address_of(client_ip)), None, pace, "ip", refuses)] if client_ip is not None else []

    def _digest(self, *parts: str) -> str:
        return hmac.digest(self._key, b"throttle:" + "\0".join(parts).encode(), hashlib.sha256).hex()


def network_of(client_ip: str | None) -> str:
    """What one household or office has: an IPv4 address's /24, an IPv6 address's /64."""
    return _network(client_ip, 24)


def address_of(client_ip: str | None) -> str:
    """Who is counted as one client: an IPv4 address, an IPv6 address's /64, in which each device has as many as it likes."""
    return _network(client_ip, 32)


def seconds_left(until: Sequence[datetime], now: datetime) -> int:
    """Whole seconds until the last of them, at least one."""
    return max(1, math.ceil((max(until) - now).total_seconds()))


def _network(client_ip: str | None, ipv4_bits: int) -> str:
    try:
        address = ip_address((client_ip or "").partition("%")[0])
    except ValueError:
        return client_ip or ""
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network((address, ipv4_bits if isinstance(address, IPv4Address) else 64), strict=False))
