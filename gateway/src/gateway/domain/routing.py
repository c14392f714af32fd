"""Which service answers a path, and what the edge does before it is asked.

    open     no credentials; counted against the caller's address
    account  credentials; costs nothing, is never cached
    data     credentials; spends quota, may be answered from the cache

A path is made of plain segments: letters, digits and `. _ ~ -`. Nothing the API serves needs more, so whatever is doubled, dotted
or percent-encoded (`//`, `..`, `%2f`) matches no route, and no two parsers can disagree about what it means.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from shared.scopes import Scope

__all__ = ["AUTH", "DATA", "INDICATOR", "RATELIMIT", "Route", "route_of"]

AUTH = "auth-service"
DATA = "data-service"
INDICATOR = "indicator-service"
RATELIMIT = "ratelimit-service"

_PLAIN = re.compile(rb"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class Route:
    """`path` itself, and everything beneath it unless `alone`.

    `scope` is what the caller's credential needs (None: any will do), and for anything but reading `changing`, where that is
    another.

    One that `explains` says with `explain=true` what a GET would cost, and that is free.

    A body is read whole before anybody is asked, up to `body_bytes` where a route says so; with `upload_bytes` it goes on as it
    comes, up to so many. `timeout_s` is the longest wait for what becomes of it. A POST of one that is a `batch` costs what its
    series do (see `shared.limits.batches`).
    """

    path: str
    service: str
    access: Literal["open", "account", "data"]
    scope: Scope | None
    alone: bool = False
    changing: Scope | None = None
    explains: bool = False
    batch: bool = False
    body_bytes: int | None = None
    upload_bytes: int | None = None
    timeout_s: float | None = None

    def matches(self, path: str) -> bool:
        return path == self.path or (not self.alone and path.startswith(f"{self.path}/"))

    def scope_for(self, method: str) -> Scope | None:
        return self.scope if method == "GET" or self.changing is None else self.changing

    def is_free(self, query: bytes) -> bool:
        """Whether a GET with this query only asks what it would cost.

        One `explain` and that `true`: whatever else a service would take for a yes is paid for, and one that reads the query
        otherwise cannot be made to compute for nothing.
        """
        sent = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return self.explains and [value for name, value in sent if name == "explain"] == ["true"]


ROUTES = (
    Route("/api/v1/auth/register", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/login", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/refresh", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/logout", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/password/forgot", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/password/reset", AUTH, "open", None, alone=True),
    Route("/.well-known/jwks.json", AUTH, "open", None, alone=True),
    Route("/api/v1/auth/me", AUTH, "account", None, alone=True, changing="keys:manage"),
    # keys, the password, every session: who may change one of them has the account
    Route("/api/v1/auth", AUTH, "account", "keys:manage"),
    Route("/api/v1/tenant", AUTH, "account", "keys:manage"),
    Route("/api/v1/admin", AUTH, "account", "admin"),
    Route("/api/v1/usage", RATELIMIT, "account", None),
    Route("/api/v1/indicators", INDICATOR, "account", "indicators:read", alone=True),  # the catalogue costs nothing
    Route("/api/v1/indicators/batch", INDICATOR, "data", "batch", alone=True, batch=True, body_bytes=16 << 20, timeout_s=60),
    # managing one's own computes nothing. Saving one takes no more than using it: the alternative, keys:manage, would put a key
    # that makes keys into every program that saves an indicator
    Route("/api/v1/indicators/custom", INDICATOR, "account", "indicators:read"),
    # 50,000 bars as objects are 6 MB
    Route("/api/v1/indicators", INDICATOR, "data", "indicators:read", explains=True, body_bytes=8 << 20),
    Route("/api/v1/expressions/validate", INDICATOR, "account", "indicators:read", alone=True),  # computes nothing
    Route("/api/v1/expressions", INDICATOR, "data", "indicators:read", body_bytes=8 << 20),
    # of all symbols it is seconds of work
    Route("/api/v1/patterns", INDICATOR, "data", "screener", alone=True, timeout_s=30),
    Route("/api/v1/patterns", INDICATOR, "data", "indicators:read", timeout_s=30),
    Route("/api/v1/screener", INDICATOR, "data", "screener", alone=True, timeout_s=30),
    Route("/api/v1/symbols", DATA, "data", "bars:read"),
    Route("/api/v1/bars", DATA, "data", "bars:read"),
    Route("/api/v1/data/import", DATA, "account", "admin", alone=True, upload_bytes=256 << 20, timeout_s=120),
)
"""The first that matches."""


def _head(path: str) -> str:
    """`/api/v1/bars` of `/api/v1/bars/AAPL`: no route is shorter than that and has others beneath it."""
    return "/".join(path.split("/", 4)[:4])


_BY_HEAD = {head: [route for route in ROUTES if _head(route.path) == head] for head in {_head(route.path) for route in ROUTES}}


def route_of(raw_path: bytes) -> Route | None:
    """`raw_path` as it was sent, without the query."""
    if not _PLAIN.fullmatch(raw_path):
        return None
    path = raw_path.decode("ascii")
    for route in _BY_HEAD.get(_head(path), ()):
        if route.matches(path):
            return route
    return None
