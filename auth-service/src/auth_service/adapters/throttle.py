"""Charges in Postgres, so that they count whichever process they reach."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ARRAY, Boolean, DateTime, Executable, Float, Interval, Text, bindparam, case, delete, func, select, update
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import throttle as _table
from auth_service.domain.throttling import Bucket, Charge
from shared.postgres import Begin

__all__ = ["PostgresThrottle", "PostgresUnlocking"]

# One statement, so that charges at once wait for each other at the row. What is left of those before drains while nothing has to
# wait; beyond the array no wait is found. No row comes back from a bucket that refuses and has to wait.
_CHARGE = sql("""
    INSERT INTO auth.throttle AS t (key, account, count, last_at, blocked_until) VALUES (:key, :account, 1, :now, :now)
    ON CONFLICT (key) DO UPDATE SET (count, last_at, blocked_until) = (
        SELECT l.level, :now,
            :now + make_interval(secs => coalesce((:waits)[least(ceil(l.level - :free)::integer, cardinality(:waits))], 0))
        FROM (
            SELECT least(1e6, 1 + CASE WHEN t.last_at <= :now - :forget_after THEN 0
                ELSE greatest(0, t.count - :per_second * greatest(0, extract(epoch FROM :now - t.blocked_until)))
            END) AS level
        ) l
    )
    WHERE NOT :refuses OR t.blocked_until <= :now
    RETURNING t.blocked_until
""").bindparams(
    bindparam("key", type_=Text),
    bindparam("account", type_=Text),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("refuses", type_=Boolean),
    bindparam("free", type_=Float),
    bindparam("waits", type_=ARRAY(Float)),
    bindparam("forget_after", type_=Interval),
    bindparam("per_second", type_=Float),
)


class PostgresThrottle:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def charge(self, buckets: Sequence[Bucket], now: datetime) -> Charge:
        try:
            async with self._begin() as connection:
                return Charge(admitted=True, blocked_until=await _charge_all(connection, buckets, now))
        except _InTheWay as refused:  # rolled back: nothing was charged
            return Charge(admitted=False, blocked_until=refused.until)

    async def refund(self, buckets: Sequence[Bucket], charged_at: datetime) -> None:
        async with self._begin() as connection:
            for bucket in _in_order(buckets):
                await connection.execute(_refunded(bucket, charged_at))


class PostgresUnlocking:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def clear(self, account: str) -> int:
        return (await self._connection.execute(delete(_table).where(_table.c.account == account))).rowcount


class _InTheWay(Exception):
    def __init__(self, until: dict[str, datetime]) -> None:
        super().__init__()
        self.until = until


async def _charge_all(connection: AsyncConnection, buckets: Sequence[Bucket], now: datetime) -> dict[str, datetime]:
    until: dict[str, datetime] = {}
    for bucket in _in_order(buckets):
        row = (await connection.execute(_charged(bucket, now))).one_or_none()
        if row is None:
            raise _InTheWay(await _waiting(connection, buckets, now))
        until[bucket.key] = row.blocked_until
    return until


async def _waiting(connection: AsyncConnection, buckets: Sequence[Bucket], now: datetime) -> dict[str, datetime]:
    keys = [bucket.key for bucket in buckets if bucket.refuses]
    waiting = select(_table.c.key, _table.c.blocked_until).where(_table.c.key.in_(keys), _table.c.blocked_until > now)
    return {row.key: row.blocked_until for row in await connection.execute(waiting)}


def _in_order(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Of their keys, so that no two transactions wait for each other."""
    return sorted(buckets, key=lambda bucket: bucket.key)


def _charged(bucket: Bucket, now: datetime) -> Executable:
    pace = bucket.pace
    return _CHARGE.bindparams(
        key=bucket.key,
        account=bucket.account,
        now=now,
        refuses=bucket.refuses,
        free=pace.free,
        waits=pace.waits_s,
        forget_after=pace.forget_after,
        per_second=pace.per_minute / 60,
    )


def _refunded(bucket: Bucket, charged_at: datetime) -> Executable:
    """The charge, and the wait that it made."""
    if bucket.forgiving:
        return delete(_table).where(_table.c.key == bucket.key)
    until = case((_table.c.last_at == charged_at, charged_at), else_=_table.c.blocked_until)
    less = func.greatest(_table.c.count - 1, 0)
    return update(_table).where(_table.c.key == bucket.key).values(count=less, blocked_until=until)
