"""All that can be known of a request from its target and its Accept alone: worked out once, and remembered."""

from functools import lru_cache
from typing import NamedTuple

from gateway.domain.caching import request_key
from gateway.domain.requests import CacheUse, CallRecord, named_in
from gateway.domain.routing import Route, RouteTable

__all__ = ["Asked", "Targets"]

_REMEMBERED = 8192
_LONGEST_REMEMBERED = 1024
"""Bytes of path, query and Accept together."""


class Asked(NamedTuple):
    """`is_free` says that a GET costs nothing of a data route's quotas; `key` is the cache's, but for who may see it; `calls` are
    what was recorded of it.
    """

    route: Route
    is_free: bool
    key: bytes
    indicator: str
    symbol: str
    calls: dict[tuple[str, int, CacheUse], CallRecord]

    def call(self, method: str, status: int, cache: CacheUse) -> CallRecord:
        ended = method, status, cache
        call = self.calls.get(ended)
        if call is None:
            call = self.calls[ended] = CallRecord(method, self.route.path, self.indicator, self.symbol, status, cache)
        return call


class Targets:
    """What was worked out is forgotten when other routes are in force."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes
        self._remembered = lru_cache(_REMEMBERED)(self._understood)
        routes.when_taken(self._remembered.cache_clear)

    def asked(self, path: bytes, query: bytes, accept: bytes) -> Asked | None:
        """`path` and `query` as they were sent; None for what no service answers."""
        is_short = len(path) + len(query) + len(accept) <= _LONGEST_REMEMBERED
        return self._remembered(path, query, accept) if is_short else self._understood(path, query, accept)

    def _understood(self, path: bytes, query: bytes, accept: bytes) -> Asked | None:
        route = self._routes.of(path)
        if route is None:
            return None
        return Asked(route, route.is_free(query), request_key(path, query, accept), *named_in(path.decode("ascii"), query), {})
