"""Which service answers a path, and what the edge does before it is asked. The routes themselves stand in `routes.yaml`.

    open     no credentials; counted against the caller's address
    account  credentials; spends no quota but a burst of its own, is never cached
    data     credentials; spends quota, may be answered from the cache

A path is made of plain segments: letters, digits and `. _ ~ -`. Nothing the API serves needs more, so whatever is doubled, dotted
or percent-encoded (`//`, `..`, `%2f`) matches no route, and no two parsers can disagree about what it means.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from shared.scopes import Scope

__all__ = ["AUTH", "DATA", "INDICATOR", "RATELIMIT", "Access", "Route", "RouteTable", "ServiceName", "is_plain"]

ServiceName = Literal["auth-service", "data-service", "indicator-service", "ratelimit-service"]
Access = Literal["open", "account", "data"]

AUTH: ServiceName = "auth-service"
DATA: ServiceName = "data-service"
INDICATOR: ServiceName = "indicator-service"
RATELIMIT: ServiceName = "ratelimit-service"

MOST_KNOWN = 4096
"""Paths whose route is remembered; and none that is longer than `_LONGEST_KNOWN` bytes."""
_LONGEST_KNOWN = 256
_PLAIN = re.compile(rb"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")


def is_plain(path: str) -> bool:
    return _PLAIN.fullmatch(path.encode()) is not None


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
    service: ServiceName
    access: Access
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
        if not self.explains:
            return False
        sent = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return [value for name, value in sent if name == "explain"] == ["true"]


class RouteTable:
    """The first route that matches is the one. `take` puts other routes in force, and tells who remembers something of them."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._told: list[Callable[[], None]] = []
        self.take(routes)

    def when_taken(self, tell: Callable[[], None]) -> None:
        self._told.append(tell)

    def take(self, routes: Sequence[Route]) -> None:
        """A request that has found its route keeps it."""
        self.routes = tuple(routes)
        self._known: dict[bytes, Route] = {}
        for tell in self._told:
            tell()

    def of(self, raw_path: bytes) -> Route | None:
        """`raw_path` as it was sent, without the query."""
        known = self._known.get(raw_path)
        if known is not None:
            return known
        route = self._find(raw_path)
        if route is not None and len(raw_path) <= _LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[raw_path] = route
        return route

    def _find(self, raw_path: bytes) -> Route | None:
        if not _PLAIN.fullmatch(raw_path):
            return None
        path = raw_path.decode("ascii")
        return next((route for route in self.routes if route.matches(path)), None)
