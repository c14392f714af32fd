"""What has ended is removed from Postgres: through functions where rows are of all tenants (`migrations` has their text)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Integer, bindparam, delete, func, select

from auth_service.adapters.lookups import rows_of
from auth_service.adapters.tables import api_key
from auth_service.adapters.tables import throttle as _throttle
from auth_service.domain.model import Owner
from shared.postgres import Begin

__all__ = ["PostgresSweeping"]

_before, _limit = bindparam("before", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer)
_REFRESH_TOKENS = select(func.auth.sweep_refresh_tokens(_before, _limit, type_=BigInteger))
_SESSIONS = select(func.auth.sweep_sessions(_before, _limit, type_=BigInteger))
_ONE_TIME_TOKENS = select(func.auth.sweep_one_time_tokens(_before, _limit, type_=BigInteger))
_NETWORKS = select(func.auth.sweep_networks(_before, _limit, type_=BigInteger))
_old = select(_throttle.c.key).where(_throttle.c.last_at <= _before).order_by(_throttle.c.last_at).limit(_limit)
_GUESSES = delete(_throttle).where(_throttle.c.key.in_(_old.with_for_update(skip_locked=True)))
_KEYS = rows_of(func.auth.ended_keys(_before, _limit), (api_key.c.tenant_id, api_key.c.user_id, api_key.c.id))


class PostgresSweeping:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def refresh_tokens(self, before: datetime, limit: int) -> int:
        return await self._removed(_REFRESH_TOKENS, before, limit)

    async def sessions(self, before: datetime, limit: int) -> int:
        return await self._removed(_SESSIONS, before, limit)

    async def one_time_tokens(self, before: datetime, limit: int) -> int:
        return await self._removed(_ONE_TIME_TOKENS, before, limit)

    async def networks(self, before: datetime, limit: int) -> int:
        return await self._removed(_NETWORKS, before, limit)

    async def guesses(self, before: datetime, limit: int) -> int:
        async with self._begin() as connection:
            return (await connection.execute(_GUESSES, {"before": before, "limit": limit})).rowcount

    async def ended_keys(self, before: datetime, limit: int) -> dict[Owner, list[UUID]]:
        found: dict[Owner, list[UUID]] = {}
        async with self._begin() as connection:
            for row in await connection.execute(_KEYS, {"before": before, "limit": limit}):
                found.setdefault(Owner(row.tenant_id, row.user_id), []).append(row.id)
        return found

    async def _removed(self, statement: Any, before: datetime, limit: int) -> int:
        async with self._begin() as connection:
            return int((await connection.execute(statement, {"before": before, "limit": limit})).scalar_one())
