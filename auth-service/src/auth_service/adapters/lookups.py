"""What is read across tenants, through functions that run with the rights of the tables' owner (`migrations` has their text)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Boolean,
    ColumnClause,
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
    true,
)
from sqlalchemy.dialects.postgresql import CIDR

from auth_service.adapters.tables import api_key, api_key_use, one_time_token, tenant, user_account
from auth_service.adapters.users import user_of
from auth_service.domain.model import ApiKeyEntry, Owner, Resolved, SessionOf, TenantEntry, User, UserEntry
from auth_service.domain.one_time import OneTimeToken
from auth_service.domain.ports import AccountFilter, KeyFilter
from shared.postgres import Begin
from shared.replica import Replicated

__all__ = ["PostgresListings", "PostgresLookups", "rows_of"]

T = TypeVar("T")


def rows_of(function: FunctionElement[Any], columns: Iterable[ColumnElement[Any]]) -> Select[Any]:
    """The rows a function returns, in columns of these names and types."""
    return select(function.table_valued(*(column(one.name, one.type) for one in columns)))


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text)


def _id(name: str) -> BindParameter[UUID]:
    return bindparam(name, type_=Uuid)


def _moment(name: str) -> BindParameter[datetime]:
    return bindparam(name, type_=DateTime(timezone=True))


def _resolving(asked: Sequence[BindParameter[Any]], function: Any) -> Select[Any]:
    """Whom each of those asked about stands for, with its place among them, and in one and the same statement how their tenant's
    tier is used and what they are in it. `asked` are arrays of one length, one for each argument of the function but the last."""
    names: list[ColumnClause[Any]] = [column(f"argument_{number}") for number, _ in enumerate(asked)]
    each = func.unnest(*asked).table_valued(*names, with_ordinality="place", name="asked").render_derived()
    found = function(*(each.c[name.name] for name in names), _now).table_valued(*_RESOLVED).lateral("found")
    terms = func.auth.terms_of(found.c.tenant_id).table_valued(*_TERMS).lateral("terms")
    role = func.auth.tenant_role_of(found.c.user_id, type_=Text).label("tenant_role")
    return select(each.c.place, found, terms, role).select_from(each.join(found, true()).join(terms, true()))


def _of_filter(function: Any) -> FunctionElement[Any]:
    page = (_id("before"), bindparam("limit", type_=Integer))
    return function(_text("begins"), _text("tier"), bindparam("is_active", type_=Boolean), *page)  # type: ignore[no-any-return]


# Written once: to put one together takes longer than to run it.
_RESOLVED = (
    *(column(name, Uuid) for name in ("user_id", "tenant_id", "session_id", "key_id")),
    column("tier", Text),
    column("roles", ARRAY(Text)),
    column("scopes", ARRAY(Text)),
    column("allowed_ips", ARRAY(CIDR)),
    column("expires_at", DateTime(timezone=True)),
)
_TERMS = (column("quota", Text), column("members", BigInteger), column("allowed_origins", ARRAY(Text)))
_now, _since = _moment("now"), _moment("since")
_BY_LOGIN = rows_of(func.auth.login_of(_text("name")), user_account.c)
_BY_KEYS = _resolving([bindparam("digests", type_=ARRAY(Text))], func.auth.resolve_key)
_BY_SESSIONS = _resolving([bindparam(name, type_=ARRAY(Uuid)) for name in ("users", "sessions")], func.auth.resolve_session)
_TENANT_OF_USER = select(func.auth.tenant_of_user(_id("user_id"), type_=Uuid))
_TENANT_OF_TOKEN = select(func.auth.tenant_of_token(_text("digest"), type_=Uuid))
_OWNER_OF_KEY = rows_of(func.auth.owner_of_key(_id("key_id")), (api_key.c.tenant_id, api_key.c.user_id))
_ORIGINS = rows_of(func.auth.origins(), [column("origin", Text)])
_ONE_TIME = rows_of(func.auth.one_time_of(_text("digest")), one_time_token.c)
_KNOWS_NETWORK = select(func.auth.knows_network(_id("user_id"), _text("network"), _since, type_=Boolean))
_PARAMETER_SETS = rows_of(func.auth.parameter_sets(), (column("parameters", Text), column("users", BigInteger)))
_USERS = rows_of(_of_filter(func.auth.user_page), [user_account.c[field.name] for field in fields(UserEntry)])
_TENANTS = rows_of(_of_filter(func.auth.tenant_page), [*tenant.c, column("members", BigInteger)])
_KEYS = rows_of(
    func.auth.key_page(_id("user_id"), _id("tenant_id"), _now, _id("before"), bindparam("limit", type_=Integer)),
    [(api_key_use if field.name == "last_used_at" else api_key).c[field.name] for field in fields(ApiKeyEntry)],
)


class PostgresLookups:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def by_login(self, name: str) -> User | None:
        async with self._begin() as connection:
            row = (await connection.execute(_BY_LOGIN, {"name": name})).mappings().one_or_none()
        return user_of(row) if row is not None else None

    async def api_keys(self, digests: Sequence[str], now: datetime) -> dict[str, Resolved]:
        return await self._resolved(_BY_KEYS, digests, {"digests": digests, "now": now})

    async def sessions(self, asked: Sequence[SessionOf], now: datetime) -> dict[SessionOf, Resolved]:
        users, sessions = zip(*asked, strict=True) if asked else ((), ())
        return await self._resolved(_BY_SESSIONS, asked, {"users": users, "sessions": sessions, "now": now})

    async def tenant_of_user(self, user_id: UUID) -> UUID | None:
        return await self._tenant(_TENANT_OF_USER, {"user_id": user_id})

    async def owner_of_key(self, key_id: UUID) -> Owner | None:
        async with self._begin() as connection:
            row = (await connection.execute(_OWNER_OF_KEY, {"key_id": key_id})).mappings().one_or_none()
        return Owner(**row) if row is not None else None

    async def origins(self) -> list[str]:
        async with self._begin() as connection:
            return list((await connection.execute(_ORIGINS)).scalars())

    async def tenant_of_token(self, token_sha256: str) -> UUID | None:
        return await self._tenant(_TENANT_OF_TOKEN, {"digest": token_sha256})

    async def one_time_token(self, token_sha256: str) -> OneTimeToken | None:
        async with self._begin() as connection:
            row = (await connection.execute(_ONE_TIME, {"digest": token_sha256})).mappings().one_or_none()
        return OneTimeToken(**row) if row is not None else None

    async def knows_network(self, user_id: UUID, network: str, since: datetime) -> bool:
        given = {"user_id": user_id, "network": network, "since": since}
        async with self._begin() as connection:
            return bool((await connection.execute(_KNOWS_NETWORK, given)).scalar_one())

    async def parameter_sets(self) -> Mapping[str, int]:
        async with self._begin() as connection:
            rows = await connection.execute(_PARAMETER_SETS)
        return {row.parameters: row.users for row in rows}

    async def _resolved(self, statement: Select[Any], asked: Sequence[T], given: dict[str, Any]) -> dict[T, Resolved]:
        if not asked:
            return {}
        async with self._begin() as connection:
            rows = [_tuples(row) for row in (await connection.execute(statement, given)).mappings()]
        return {asked[row.pop("place") - 1]: Resolved(**row) for row in rows}

    async def _tenant(self, statement: Select[Any], given: dict[str, Any]) -> UUID | None:
        async with self._begin() as connection:
            found: UUID | None = (await connection.execute(statement, given)).scalar_one()
        return found


class PostgresListings:
    def __init__(self, replicated: Replicated) -> None:
        self._replicated = replicated

    async def users(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> list[UserEntry]:
        return [UserEntry(**_tuples(row)) for row in await self._of(_USERS, asked, before, limit)]

    async def tenants(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> list[TenantEntry]:
        return [TenantEntry(**_tuples(row)) for row in await self._of(_TENANTS, asked, before, limit)]

    async def keys(self, asked: KeyFilter, now: datetime, *, before: UUID | None, limit: int) -> list[ApiKeyEntry]:
        given = {**asdict(asked), "now": now, "before": before, "limit": limit}
        return [ApiKeyEntry(**_tuples(row)) for row in await self._replicated.fetch(_KEYS, given)]

    async def _of(self, page: Select[Any], asked: AccountFilter, before: UUID | None, limit: int) -> Sequence[RowMapping]:
        begins = f"{_escaped(asked.begins.lower())}%" if asked.begins is not None else None
        given = {"begins": begins, "tier": asked.tier, "is_active": asked.is_active, "before": before, "limit": limit}
        return await self._replicated.fetch(page, given)


def _tuples(row: RowMapping) -> dict[str, Any]:
    # an array is a list to the driver
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _escaped(text: str) -> str:
    """For LIKE: what stands for itself."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
