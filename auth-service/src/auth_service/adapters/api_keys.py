"""API keys in Postgres."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import api_key as _table
from auth_service.domain.model import ApiKey

__all__ = ["PostgresApiKeys"]

_unrevoked = _table.c.revoked_at.is_(None)


class PostgresApiKeys:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, key: ApiKey) -> None:
        await self._connection.execute(insert(_table).values(asdict(key)))

    async def count(self, user_id: UUID) -> int:
        statement = select(func.count()).select_from(_table).where(_table.c.user_id == user_id, _unrevoked)
        return (await self._connection.execute(statement)).scalar_one()

    async def page(self, user_id: UUID, *, before: UUID | None, limit: int) -> list[ApiKey]:
        statement = select(_table).where(_table.c.user_id == user_id, _unrevoked).order_by(_table.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(_table.c.id < before)
        return [ApiKey(**row) for row in (await self._connection.execute(statement)).mappings()]

    async def revoke(self, user_id: UUID, key_id: UUID, now: datetime) -> ApiKey | None:
        this = (_table.c.id == key_id, _table.c.user_id == user_id, _unrevoked)
        revoked = await self._connection.execute(update(_table).where(*this).values(revoked_at=now).returning(_table))
        row = revoked.mappings().one_or_none()
        return ApiKey(**row) if row is not None else None
