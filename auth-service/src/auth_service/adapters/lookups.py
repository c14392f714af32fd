"""What is read across tenants, through functions that run with the rights of the tables' owner (`migrations` has their text)."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, DateTime, FunctionElement, Integer, Select, Text, Uuid, column, func, literal, select

from auth_service.adapters.replica import Replicated
from auth_service.adapters.tables import user_account
from auth_service.adapters.users import user_of
from auth_service.domain.model import Resolved, User, UserEntry
from shared.postgres import Begin

__all__ = ["PostgresListings", "PostgresLookups", "rows_of"]

_RESOLVED = (
    *(column(name, Uuid) for name in ("user_id", "tenant_id", "session_id", "key_id")),
    column("tier", Text),
    column("roles", ARRAY(Text)),
    column("expires_at", DateTime(timezone=True)),
)
_ENTRY = [user_account.c[field.name] for field in fields(UserEntry)]


def rows_of(function: FunctionElement[Any], columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    """The rows a function returns, in columns of these names and types."""
    return select(function.table_valued(*(column(one.name, one.type) for one in columns)))


class PostgresLookups:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def by_login(self, name: str) -> User | None:
        statement = rows_of(func.auth.login_of(literal(name, Text)), user_account.c)
        async with self._begin() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        return user_of(row) if row is not None else None

    async def api_key(self, key_sha256: str, now: datetime) -> Resolved | None:
        return await self._resolved(func.auth.resolve_key(literal(key_sha256, Text), _time(now)))

    async def session(self, user_id: UUID, session_id: UUID, now: datetime) -> Resolved | None:
        return await self._resolved(func.auth.resolve_session(literal(user_id, Uuid), literal(session_id, Uuid), _time(now)))

    async def tenant_of_user(self, user_id: UUID) -> UUID | None:
        return await self._tenant(func.auth.tenant_of_user(literal(user_id, Uuid), type_=Uuid))

    async def tenant_of_token(self, token_sha256: str) -> UUID | None:
        return await self._tenant(func.auth.tenant_of_token(literal(token_sha256, Text), type_=Uuid))

    async def _resolved(self, function: FunctionElement[Any]) -> Resolved | None:
        async with self._begin() as connection:
            row = (await connection.execute(rows_of(function, _RESOLVED))).mappings().one_or_none()
        return Resolved(**{**row, "roles": tuple(row["roles"])}) if row is not None else None

    async def _tenant(self, function: ColumnElement[UUID | None]) -> UUID | None:
        async with self._begin() as connection:
            return (await connection.execute(select(function))).scalar_one()


class PostgresListings:
    def __init__(self, replicated: Replicated) -> None:
        self._replicated = replicated

    async def users(self, *, before: UUID | None, limit: int) -> list[UserEntry]:
        statement = rows_of(func.auth.user_page(literal(before, Uuid), literal(limit, Integer)), _ENTRY)
        rows = await self._replicated.fetch(statement)
        return [UserEntry(**{**row, "roles": tuple(row["roles"])}) for row in rows]


def _time(moment: datetime) -> ColumnElement[datetime]:
    return literal(moment, DateTime(timezone=True))
