"""API keys in Postgres."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import api_key as _table
from auth_service.adapters.tables import api_key_use as _uses
from auth_service.domain.model import ApiKey

__all__ = ["PostgresApiKeys"]

_record = select(_table, _uses.c.last_used_at).select_from(_table).outerjoin(_uses, _uses.c.key_id == _table.c.id)
_unrevoked = _table.c.revoked_at.is_(None)


class PostgresApiKeys:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, key: ApiKey) -> None:
        row = asdict(key)
        del row["last_used_at"]
        # an array is a list to the driver
        await self._connection.execute(insert(_table).values({**row, "scopes": list(key.scopes), "allowed_ips": _list(key)}))

    async def count(self, user_id: UUID, now: datetime) -> int:
        statement = select(func.count()).select_from(_table).where(_table.c.user_id == user_id, _there(now))
        return (await self._connection.execute(statement)).scalar_one()

    async def get(self, user_id: UUID, key_id: UUID, now: datetime) -> ApiKey | None:
        statement = _record.where(_table.c.id == key_id, _table.c.user_id == user_id, _there(now))
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return _key(row) if row is not None else None

    async def page(self, user_id: UUID, now: datetime, *, before: UUID | None, limit: int) -> list[ApiKey]:
        statement = _record.where(_table.c.user_id == user_id, _there(now)).order_by(_table.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(_table.c.id < before)
        return [_key(row) for row in (await self._connection.execute(statement)).mappings()]

    async def lock(self, user_id: UUID, key_id: UUID) -> ApiKey | None:
        this = select(_table).where(_table.c.id == key_id, _table.c.user_id == user_id)
        row = (await self._connection.execute(this.with_for_update(key_share=True))).mappings().one_or_none()
        return _key(row) if row is not None else None

    async def replace(self, key: ApiKey) -> None:
        changes = {"replaced_by": key.replaced_by, "expires_at": key.expires_at, "revoked_at": key.revoked_at}
        await self._connection.execute(update(_table).where(_table.c.id == key.id).values(changes))

    async def revoke(self, user_id: UUID, key_id: UUID, now: datetime) -> ApiKey | None:
        this = (_table.c.id == key_id, _table.c.user_id == user_id, _there(now))
        revoked = await self._connection.execute(update(_table).where(*this).values(revoked_at=now).returning(_table))
        row = revoked.mappings().one_or_none()
        return _key(row) if row is not None else None

    async def remove(self, user_id: UUID, key_ids: Sequence[UUID], ended_before: datetime) -> list[ApiKey]:
        ended = func.least(_table.c.expires_at, _table.c.revoked_at) <= ended_before
        these = (_table.c.id.in_(key_ids), _table.c.user_id == user_id, ended)
        gone = await self._connection.execute(delete(_table).where(*these).returning(_table))
        return sorted((_key(row) for row in gone.mappings()), key=lambda key: key.id)


def _there(now: datetime) -> ColumnElement[bool]:
    return and_(_unrevoked, or_(_table.c.replaced_by.is_(None), _table.c.expires_at > now))


def _key(row: RowMapping | dict[str, Any]) -> ApiKey:
    networks = row["allowed_ips"]
    return ApiKey(**{**row, "scopes": tuple(row["scopes"]), "allowed_ips": tuple(networks) if networks is not None else None})


def _list(key: ApiKey) -> list[Any] | None:
    return list(key.allowed_ips) if key.allowed_ips is not None else None
