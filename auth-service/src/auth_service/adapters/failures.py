"""Failed attempts in Postgres, so that they count whichever process they reach."""

from datetime import datetime, timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert

from auth_service.adapters.tables import login_failure as _table
from auth_service.domain.ports import Failures
from shared.postgres import Begin

__all__ = ["PostgresFailures"]

_REMOVED_AT_A_TIME = 10


class PostgresFailures:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def get(self, key: str) -> Failures | None:
        found = select(_table.c.count, _table.c.last_at).where(_table.c.key == key)
        async with self._begin() as connection:
            row = (await connection.execute(found)).mappings().one_or_none()
        return Failures(**row) if row is not None else None

    async def count(self, key: str, now: datetime, *, forget_after: timedelta) -> None:
        horizon = now - forget_after
        first = insert(_table).values(key=key, count=1, last_at=now)
        one_more = case((_table.c.last_at <= horizon, 1), else_=_table.c.count + 1)
        counted = first.on_conflict_do_update(index_elements=[_table.c.key], set_={"count": one_more, "last_at": now})
        # each failure removes more rows than it adds; skip_locked, because who removes them does not matter
        old = select(_table.c.key).where(_table.c.last_at <= horizon).order_by(_table.c.last_at).limit(_REMOVED_AT_A_TIME)
        async with self._begin() as connection:
            await connection.execute(counted)
            await connection.execute(delete(_table).where(_table.c.key.in_(old.with_for_update(skip_locked=True))))

    async def clear(self, key: str) -> None:
        async with self._begin() as connection:
            await connection.execute(delete(_table).where(_table.c.key == key))
