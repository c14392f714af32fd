"""Batches of requests as gateways send them, and what is to be found of them afterwards."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from ratelimit_service.adapters.partitions import PostgresPartitions
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_ledger import PostgresLedger
from ratelimit_service.domain.intake import Intake
from ratelimit_service.domain.sampling import Sampler
from shared.ids import new_id, uuid7
from shared.replica import Replicated
from tests.ratelimit.databases import KEPT

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


class Asked(NamedTuple):
    """One request; `user` and `key` are made up from the number."""

    at: datetime = NOON
    user: int = 1
    key: int = 0
    method: str = "GET"
    endpoint: str = "/api/v1/bars/{symbol}"
    indicator: str = ""
    symbol: str = "AAPL"
    status: int = 200
    cache: str = "miss"
    latency_us: int = 1000
    units: int = 1
    bytes_out: int = 100
    tier: str = "pro"
    request_id: str = "r"

    @property
    def subject(self) -> str:
        return f"user:{user_id(self.user)}" if self.user else ""


def tenant_id(user: int) -> UUID:
    """Ten users to a tenant."""
    return UUID(int=(1 << 100) + user // 10)


def user_id(user: int) -> UUID:
    return UUID(int=(2 << 100) + user)


def key_id(key: int) -> UUID:
    return UUID(int=(3 << 100) + key)


def batch_of(asked: Sequence[Asked], *, lost: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """The data of the fact; each request has rows of its own."""
    places = list(range(len(asked)))
    return {
        "lost": list(lost),
        "callers": [_caller(one) for one in asked],
        "calls": [[one.method, one.endpoint, one.indicator, one.symbol, one.status, one.cache] for one in asked],
        "caller": places,
        "call": places,
        "at": [round(one.at.timestamp() * 1000) for one in asked],
        "latency_us": [one.latency_us for one in asked],
        "units": [one.units for one in asked],
        "bytes_out": [one.bytes_out for one in asked],
        "request_id": [one.request_id for one in asked],
    }


def _caller(one: Asked) -> list[str]:
    if not one.user:
        return ["", "", "", "none", "", ""]
    key = str(key_id(one.key)) if one.key else ""
    return [str(tenant_id(one.user)), str(user_id(one.user)), key, "key" if key else "session", one.tier, one.subject]


def batch_id(at: datetime = NOON) -> UUID:
    return uuid7(lambda: at, lambda size: new_id().bytes[-size:])


class UsageStore:
    """A migrated database with its partitions, and an intake before it."""

    def __init__(self, database: PostgresDatabase, now: datetime, *, log_per_s: float = 1e9) -> None:
        self.database = database
        self.now = now
        self.taken: list[int] = []
        self.partitions = PostgresPartitions(database.connection, KEPT)
        self.ledger = PostgresLedger(database.connection)
        ticks = itertools.count()
        self.intake = Intake(
            self.ledger, Sampler(log_per_s, partial(next, ticks), lambda: 0.5), lambda: self.now, taken=self.taken.append
        )

    async def take(self, asked: Sequence[Asked], id_: UUID | None = None, **more: Any) -> UUID:
        id_ = id_ or batch_id(self.now)
        await self.intake.take(id_, batch_of(asked, **more))
        return id_

    @property
    def reads(self) -> Replicated:
        """Without a replica."""
        return Replicated(self.database.connection, None, lambda: self.now)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return await rows(self.database, query)


async def rows(database: PostgresDatabase, query: str) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


@asynccontextmanager
async def usage_store(url: str, now: datetime = NOON, **options: Any) -> AsyncIterator[UsageStore]:
    async with PostgresDatabase(url, service="test", pool_size=4, within_s=20, away="away") as database:
        store = UsageStore(database, now, **options)
        await store.partitions.keep(now.date())
        yield store
