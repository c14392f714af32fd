"""The connection to Redis (Valkey) that every service opens alike."""

from redis.asyncio import BlockingConnectionPool, Redis

__all__ = ["open_store"]

_CONNECTIONS = 32
_DEADLINE_S = 2.0


def open_store(url: str) -> Redis:
    """A client over a bounded pool: the hundredth caller waits its turn, where redis-py's own pool raises.

    Nobody waits longer than two seconds, neither for a connection nor for an answer.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_DEADLINE_S,
        socket_timeout=_DEADLINE_S,
        socket_connect_timeout=_DEADLINE_S,
        health_check_interval=30,
    )
    return Redis.from_pool(pool)
