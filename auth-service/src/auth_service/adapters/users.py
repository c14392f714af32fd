"""Users and tenants in Postgres."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters import tables
from auth_service.domain.errors import AlreadyRegistered
from auth_service.domain.model import Tenant, User

__all__ = ["PostgresUsers"]

_table = tables.user_account
_UNIQUE_VIOLATION = "23505"
_ALTERABLE = ("email", "password_hash", "password_changed_at", "tier", "is_active")


class PostgresUsers:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, tenant: Tenant, user: User) -> None:
        await self._connection.execute(insert(tables.tenant).values(asdict(tenant)))
        try:
            await self._connection.execute(insert(_table).values(_columns(user)))
        except IntegrityError as error:
            raise _meaning(error) from error

    async def by_id(self, user_id: UUID) -> User | None:
        return await self._one(select(_table).where(_table.c.id == user_id))

    async def by_login(self, name: str) -> User | None:
        column = _table.c.email if "@" in name else _table.c.username
        return await self._one(select(_table).where(func.lower(column) == func.lower(name)))

    async def lock(self, user_id: UUID) -> User | None:
        # key_share: a session or key may be inserted beside it, whose foreign key is checked with FOR KEY SHARE
        return await self._one(select(_table).where(_table.c.id == user_id).with_for_update(key_share=True))

    async def save(self, user: User) -> None:
        columns = _columns(user)
        changes = {name: columns[name] for name in _ALTERABLE}
        try:
            await self._connection.execute(update(_table).where(_table.c.id == user.id).values(changes))
        except IntegrityError as error:
            raise _meaning(error) from error

    async def page(self, *, before: UUID | None, limit: int) -> list[User]:
        statement = select(_table).order_by(_table.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(_table.c.id < before)
        return [_user(row) for row in (await self._connection.execute(statement)).mappings()]

    async def _one(self, statement: Select[Any]) -> User | None:
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return _user(row) if row is not None else None


def _user(row: RowMapping) -> User:
    return User(**{**row, "roles": tuple(row["roles"])})


def _columns(user: User) -> Mapping[str, Any]:
    return {**asdict(user), "roles": list(user.roles)}


def _meaning(error: IntegrityError) -> Exception:
    return AlreadyRegistered() if getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION else error
