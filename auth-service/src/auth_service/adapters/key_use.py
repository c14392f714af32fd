"""When keys were last used, in Postgres: a table of its own, so that rows of keys are not rewritten every few seconds."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, func, literal, select

from shared.postgres import Begin

__all__ = ["PostgresKeyUses"]


class PostgresKeyUses:
    """Through a function, for the keys are of all tenants."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def save(self, uses: Mapping[UUID, datetime]) -> None:
        ids = literal(list(uses), ARRAY(Uuid))
        moments = literal(list(uses.values()), ARRAY(DateTime(timezone=True)))
        async with self._begin() as connection:
            await connection.execute(select(func.auth.keys_used(ids, moments)))
