"""The tables of usage in the schema `ratelimit`, as the newest revision leaves them (a test compares the two).

Those that grow are partitioned by time; their partitions are made and dropped by `ratelimit_service.adapters.partitions`.
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from ratelimit_service.adapters.tables import metadata

__all__ = ["DEMAND", "TRAFFIC", "USE", "caller_seen", "metadata", "request_log", "usage_inbox", "usage_units"]

_moment = DateTime(timezone=True)


def _measure(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False)


def _partitioned(name: str, by: str, *columns: Column[Any], key: tuple[str, ...]) -> Table:
    return Table(name, metadata, *columns, PrimaryKeyConstraint(*key), postgresql_partition_by=f"RANGE ({by})")


# The requests themselves: those that failed, and of the others a share (`kept`) where there were too many. NOBODY is no user.
request_log = _partitioned(
    "request_log",
    "day",
    Column("day", Date, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", _moment, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("key_id", Uuid, nullable=False),
    Column("session", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("indicator", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("cache", Text, nullable=False),
    Column("latency_us", Integer, nullable=False),
    Column("units", Integer, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("kept", REAL, nullable=False),
    key=("day", "id"),
)
Index("request_log_failed", request_log.c.day, request_log.c.id, postgresql_where=request_log.c.status >= 400)

# Batches that were taken, so that one that comes again is not.
usage_inbox = _partitioned(
    "usage_inbox",
    "day",
    Column("day", Date, nullable=False),
    Column("batch_id", Uuid, nullable=False),
    Column("events", Integer, nullable=False),
    Column("lost_events", BigInteger, nullable=False),
    Column("lost_units", BigInteger, nullable=False),
    key=("day", "batch_id"),
)

# What each subject, of the tier it was last seen with, has spent of its day's quota: what the counters in Redis are compared
# with, and filled again from.
usage_units = _partitioned(
    "usage_units",
    "day",
    Column("day", Date, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tier", Text, nullable=False),
    _measure("units"),
    key=("day", "subject"),
)

# Since when there are users, and when they were last seen.
caller_seen = Table(
    "caller_seen",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
)
Index("caller_seen_first", caller_seen.c.first_day)


def _use(grain: str) -> Table:
    return _partitioned(
        f"usage_{grain}",
        "at",
        Column("at", _moment, nullable=False),
        Column("tenant_id", Uuid, nullable=False),
        Column("user_id", Uuid, nullable=False),
        Column("key_id", Uuid, nullable=False),
        Column("method", Text, nullable=False),
        Column("endpoint", Text, nullable=False),
        Column("status", SmallInteger, nullable=False),
        *(_measure(name) for name in ("requests", "units", "bytes_out", "hits", "latency_us")),
        key=("tenant_id", "user_id", "at", "endpoint", "method", "status", "key_id"),
    )


def _traffic(grain: str) -> Table:
    return _partitioned(
        f"traffic_{grain}",
        "at",
        Column("at", _moment, nullable=False),
        Column("method", Text, nullable=False),
        Column("endpoint", Text, nullable=False),
        Column("status", SmallInteger, nullable=False),
        Column("cache", Text, nullable=False),
        Column("tier", Text, nullable=False),
        Column("slot", SmallInteger, nullable=False),
        *(_measure(name) for name in ("requests", "units", "bytes_out", "latency_us")),
        key=("at", "endpoint", "method", "status", "cache", "tier", "slot"),
    )


def _demand(grain: str) -> Table:
    return _partitioned(
        f"demand_{grain}",
        "at",
        Column("at", _moment, nullable=False),
        Column("kind", Text, nullable=False),
        Column("name", Text, nullable=False),
        *(_measure(name) for name in ("requests", "units", "failed")),
        key=("at", "kind", "name"),
    )


# By who asked, by what was answered (with the slot of its latency), and by what was asked for.
USE = {grain: _use(grain) for grain in ("minute", "hour", "day")}
TRAFFIC = {grain: _traffic(grain) for grain in ("minute", "hour", "day")}
DEMAND = {grain: _demand(grain) for grain in ("minute", "hour", "day")}
