"""The connection to Redis (Valkey) that every service opens alike: to a server, or to whoever Sentinel says is the primary."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from shared.sentinel_url import SentinelUrl, parse_sentinel_url

__all__ = ["PrimaryPool", "open_store", "pool_of"]

_DEADLINE_S = 2.0
_SENTINEL_DEADLINE_S = 0.5
"""They are asked one after the other: with two of three gone, the answer is there within the deadline of who waits for it."""
_BOUNDS: dict[str, Any] = {
    "max_connections": 32,
    "timeout": _DEADLINE_S,
    "socket_timeout": _DEADLINE_S,
    "socket_connect_timeout": _DEADLINE_S,
    "health_check_interval": 30,
}


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Each new connection is to whoever is the primary then; one that finds itself at a replica is closed."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def pool_of(url: str) -> BlockingConnectionPool:
    """Bounded: the hundredth caller waits its turn, where redis-py's own pool raises.

    Nobody waits longer than two seconds, neither for a connection nor for an answer.
    """
    found = parse_sentinel_url(url)
    return BlockingConnectionPool.from_url(url, **_BOUNDS) if found is None else _pool_by(found)


def open_store(url: str) -> Redis:
    """A client over `pool_of`."""
    return Redis.from_pool(pool_of(url))


def _pool_by(found: SentinelUrl) -> PrimaryPool:
    options: dict[str, Any] = dict(parse_url(found.store))
    del options["host"]
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if options.pop("connection_class", None) is SSLConnection:
        tls["ssl"] = options["ssl"] = True
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        found.sentinels,
        sentinel_kwargs={
            "socket_timeout": _SENTINEL_DEADLINE_S,
            "socket_connect_timeout": _SENTINEL_DEADLINE_S,
            "retry": Retry(NoBackoff(), 0),
            **tls,
            **found.credentials,
        },
    )
    return PrimaryPool(found.service, sentinel, **{**_BOUNDS, **options})  # type: ignore[no-untyped-call]
