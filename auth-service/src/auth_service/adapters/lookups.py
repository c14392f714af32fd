"""What is read across tenants, through functions that run with the rights of the tables' owner (`migrations` has their text)."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    DateTime,
    FunctionElement,
    Integer,
    RowMapping,
    Select,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import CIDR

from auth_service.adapters.replica import Replicated
from auth_service.adapters.tables import user_account
from auth_service.adapters.users import user_of
from auth_service.domain.model import Resolved, User, UserEntry
from shared.postgres import Begin

__all__ = ["PostgresListings", "PostgresLookups", "rows_of"]


def rows_of(function: FunctionElement[Any], columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    """The rows a function returns, in columns of these names and types."""
    return select(function.table_valued(*(column(one.name, one.type) for one in columns)))


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text)


def _id(name: str) -> BindParameter[UUID]:
    return bindparam(name, type_=Uuid)


# Written once: to put one together takes longer than to run it.
_RESOLVED = (
    *(column(name, Uuid) for name in ("user_id", "tenant_id", "session_id", "key_id")),
    column("tier", Text),
    column("roles", ARRAY(Text)),
    column("scopes", ARRAY(Text)),
    column("allowed_ips", ARRAY(CIDR)),
    column("expires_at", DateTime(timezone=True)),
)
_now: BindParameter[datetime] = bindparam("now", type_=DateTime(timezone=True))
_BY_LOGIN = rows_of(func.auth.login_of(_text("name")), user_account.c)
_BY_KEY = rows_of(func.auth.resolve_key(_text("digest"), _now), _RESOLVED)
_BY_SESSION = rows_of(func.auth.resolve_session(_id("user_id"), _id("session_id"), _now), _RESOLVED)
_TENANT_OF_USER = select(func.auth.tenant_of_user(_id("user_id"), type_=Uuid))
_TENANT_OF_TOKEN = select(func.auth.tenant_of_token(_text("digest"), type_=Uuid))
_USERS = rows_of(
    func.auth.user_page(_id("before"), bindparam("limit", type_=Integer)),
    [user_account.c[field.name] for field in fields(UserEntry)],
)


class PostgresLookups:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def by_login(self, name: str) -> User | None:
        async with self._begin() as connection:
            row = (await connection.execute(_BY_LOGIN, {"name": name})).mappings().one_or_none()
        return user_of(row) if row is not None else None

    async def api_key(self, key_sha256: str, now: datetime) -> Resolved | None:
        return await self._resolved(_BY_KEY, {"digest": key_sha256, "now": now})

    async def session(self, user_id: UUID, session_id: UUID, now: datetime) -> Resolved | None:
        return await self._resolved(_BY_SESSION, {"user_id": user_id, "session_id": session_id, "now": now})

    async def tenant_of_user(self, user_id: UUID) -> UUID | None:
        return await self._tenant(_TENANT_OF_USER, {"user_id": user_id})

    async def tenant_of_token(self, token_sha256: str) -> UUID | None:
        return await self._tenant(_TENANT_OF_TOKEN, {"digest": token_sha256})

    async def _resolved(self, statement: Select[Any], given: dict[str, Any]) -> Resolved | None:
        async with self._begin() as connection:
            row = (await connection.execute(statement, given)).mappings().one_or_none()
        return _resolved(row) if row is not None else None

    async def _tenant(self, statement: Select[Any], given: dict[str, Any]) -> UUID | None:
        async with self._begin() as connection:
            found: UUID | None = (await connection.execute(statement, given)).scalar_one()
        return found


class PostgresListings:
    def __init__(self, replicated: Replicated) -> None:
        self._replicated = replicated

    async def users(self, *, before: UUID | None, limit: int) -> list[UserEntry]:
        rows = await self._replicated.fetch(_USERS, {"before": before, "limit": limit})
        return [UserEntry(**{**row, "roles": tuple(row["roles"])}) for row in rows]


def _resolved(row: RowMapping) -> Resolved:
    # an array is a list to the driver
    columns: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Resolved(**columns)
