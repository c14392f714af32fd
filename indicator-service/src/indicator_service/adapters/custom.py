"""Users' own indicators in Postgres."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from indicator_service.adapters.tables import custom_indicator as _indicators
from indicator_service.adapters.tables import custom_indicator_version as _versions
from indicator_service.domain.custom import CustomIndicator, OwnParameter, Version
from indicator_service.domain.errors import NameTaken
from shared.errors import Unavailable
from shared.postgres import check_engine, sqlstate_of, transaction

__all__ = ["PostgresCustomIndicators"]

_UNIQUE_VIOLATION = "23505"
_OWNERS = int.from_bytes(b"indi")
"""The first of the two numbers of an advisory lock; the second stands for the user."""

_newest: Select[Any] = select(
    *(column for column in _indicators.c if column.name != "version"),
    _versions.c.version,
    _versions.c.expression,
    _versions.c.parameters,
    _versions.c.created_at.label("version_created_at"),
).join_from(
    _indicators, _versions, and_(_versions.c.indicator_id == _indicators.c.id, _versions.c.version == _indicators.c.version)
)


_AWAY = "custom indicators cannot be read or changed now"


class PostgresCustomIndicators:
    """The store, while the service runs. A transaction that is not done after `within_s` is given up: a server that neither
    answers nor refuses must not keep the catalogue waiting."""

    def __init__(self, engine: AsyncEngine, *, within_s: float) -> None:
        self._engine = engine
        self._within_s = within_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["CustomIndicatorRows"]:
        try:
            async with asyncio.timeout(self._within_s), transaction(self._engine, away=_AWAY) as connection:
                yield CustomIndicatorRows(connection)
        except TimeoutError:
            raise Unavailable(_AWAY) from None

    async def check(self) -> None:
        """For health: raises when Postgres does not answer."""
        await check_engine(self._engine)


class CustomIndicatorRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, owner: UUID) -> None:
        # until the transaction ends; two users whose hashes are the same wait for each other, and that is all
        await self._connection.execute(select(func.pg_advisory_xact_lock(_OWNERS, func.hashtext(str(owner)))))

    async def count(self, owner: UUID) -> int:
        statement = select(func.count()).select_from(_indicators).where(_of(owner))
        return (await self._connection.execute(statement)).scalar_one()

    async def add(self, indicator: CustomIndicator) -> None:
        values = {
            "id": indicator.id,
            "user_id": indicator.owner,
            "name": indicator.name,
            "description": indicator.description,
            "version": indicator.version.number,
            "created_at": indicator.created_at,
            "updated_at": indicator.updated_at,
        }
        try:
            await self._connection.execute(insert(_indicators).values(values))
        except IntegrityError as error:
            raise NameTaken(indicator.name) if sqlstate_of(error) == _UNIQUE_VIOLATION else error from error
        await self._add_version(indicator)

    async def change(self, indicator: CustomIndicator, *, oldest: int) -> None:
        changes = {
            "description": indicator.description,
            "version": indicator.version.number,
            "updated_at": indicator.updated_at,
        }
        await self._connection.execute(update(_indicators).where(_indicators.c.id == indicator.id).values(changes))
        await self._add_version(indicator)
        older = and_(_versions.c.indicator_id == indicator.id, _versions.c.version < oldest)
        await self._connection.execute(delete(_versions).where(older))

    async def delete(self, owner: UUID, name: str) -> bool:
        deleted = await self._connection.execute(delete(_indicators).where(_of(owner), _indicators.c.name == name))
        return deleted.rowcount == 1

    async def named(self, owner: UUID, names: Sequence[str]) -> list[CustomIndicator]:
        return await self._all(_newest.where(_of(owner), _indicators.c.name.in_(names)))

    async def page(self, owner: UUID, *, after: str | None, limit: int) -> list[CustomIndicator]:
        following = [_indicators.c.name > after] if after is not None else []
        return await self._all(_newest.where(_of(owner), *following).limit(limit))

    async def versions(self, indicator_id: UUID) -> list[Version]:
        statement = select(_versions).where(_versions.c.indicator_id == indicator_id).order_by(_versions.c.version.desc())
        rows = (await self._connection.execute(statement)).mappings()
        return [_version(row, row["created_at"]) for row in rows]

    async def _all(self, statement: Select[Any]) -> list[CustomIndicator]:
        rows = (await self._connection.execute(statement.order_by(_indicators.c.name))).mappings()
        return [_indicator(row) for row in rows]

    async def _add_version(self, indicator: CustomIndicator) -> None:
        version = indicator.version
        values = {
            "indicator_id": indicator.id,
            "version": version.number,
            "expression": version.expression,
            "parameters": [asdict(parameter) for parameter in version.parameters],
            "created_at": version.created_at,
        }
        await self._connection.execute(insert(_versions).values(values))


def _of(owner: UUID) -> ColumnElement[bool]:
    return _indicators.c.user_id == owner


def _indicator(row: RowMapping) -> CustomIndicator:
    return CustomIndicator(
        id=row["id"],
        owner=row["user_id"],
        name=row["name"],
        description=row["description"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        version=_version(row, row["version_created_at"]),
    )


def _version(row: RowMapping, created_at: Any) -> Version:
    return Version(row["version"], row["expression"], tuple(map(_parameter, row["parameters"])), created_at)


def _parameter(stored: dict[str, Any]) -> OwnParameter:
    # a number without a fraction comes back as an int whatever it was
    number = int if stored["type"] == "int" else float
    return OwnParameter(**{**stored, **{name: number(stored[name]) for name in ("default", "minimum", "maximum")}})
