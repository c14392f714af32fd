"""Users and tenants in Postgres."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters import tables
from auth_service.domain.errors import AlreadyRegistered
from auth_service.domain.model import Tenant, User

__all__ = ["PostgresUsers", "user_of"]

_table = tables.user_account
_UNIQUE_VIOLATION = "23505"
_ALTERABLE = ("email", "password_hash", "password_changed_at", "tier", "is_active", "tenant_role")


class PostgresUsers:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, tenant: Tenant, user: User) -> None:
        await self._connection.execute(insert(tables.tenant).values(_row(tenant)))
        await self.add_member(user)

    async def add_member(self, user: User) -> None:
        try:
            await self._connection.execute(insert(_table).values(_row(user)))
        except IntegrityError as error:
            raise _meaning(error) from error

    async def by_id(self, user_id: UUID) -> User | None:
        return await self._one(select(_table).where(_table.c.id == user_id))

    async def lock(self, user_id: UUID) -> User | None:
        # key_share: a session or key may be inserted beside it, whose foreign key is checked with FOR KEY SHARE
        return await self._one(select(_table).where(_table.c.id == user_id).with_for_update(key_share=True))

    async def save(self, user: User) -> None:
        columns = _row(user)
        changes = {name: columns[name] for name in _ALTERABLE}
        try:
            await self._connection.execute(update(_table).where(_table.c.id == user.id).values(changes))
        except IntegrityError as error:
            raise _meaning(error) from error

    async def _one(self, statement: Select[Any]) -> User | None:
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return user_of(row) if row is not None else None


def user_of(row: RowMapping) -> User:
    return User(**{**row, "roles": tuple(row["roles"])})


def _row(record: User | Tenant) -> Mapping[str, Any]:
    # an array is a list to the driver
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(record).items()}


def _meaning(error: IntegrityError) -> Exception:
    return AlreadyRegistered() if getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION else error
