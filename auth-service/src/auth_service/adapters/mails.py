"""Mail that waits to be sent, in Postgres."""

import asyncio
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import mail as _table
from auth_service.domain.model import Mail
from shared.postgres import Begin

__all__ = ["PostgresMailQueue", "PostgresMails"]


class PostgresMails:
    """`wrote` says whether any was added in this transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.wrote = False

    async def add(self, mail: Mail) -> None:
        row = {"id": mail.id, "kind": mail.kind, "address": mail.address, "made_at": mail.made_at}
        await self._connection.execute(insert(_table).values(**row, due_at=mail.made_at, attempts=mail.attempts))
        self.wrote = True


class PostgresMailQueue:
    """`posted` is set after each commit that added some."""

    def __init__(self, begin: Begin, posted: asyncio.Event) -> None:
        self._begin = begin
        self._posted = posted

    async def add(self, mail: Mail) -> None:
        async with self._begin() as connection:
            await PostgresMails(connection).add(mail)
        self._posted.set()

    async def take(self, now: datetime, until: datetime, limit: int) -> list[Mail]:
        due = select(_table.c.id).where(_table.c.due_at <= now).order_by(_table.c.due_at).limit(limit)
        taken = update(_table).where(_table.c.id.in_(due.with_for_update(skip_locked=True)))
        held = taken.values(due_at=until, attempts=_table.c.attempts + 1)
        columns = (_table.c.id, _table.c.kind, _table.c.address, _table.c.made_at, _table.c.attempts)
        async with self._begin() as connection:
            rows = (await connection.execute(held.returning(*columns))).mappings()
        return sorted((Mail(**row) for row in rows), key=lambda mail: mail.made_at)

    async def put_back(self, mail_id: UUID, due_at: datetime) -> None:
        async with self._begin() as connection:
            await connection.execute(update(_table).where(_table.c.id == mail_id).values(due_at=due_at))

    async def done(self, mail_id: UUID) -> None:
        async with self._begin() as connection:
            await connection.execute(delete(_table).where(_table.c.id == mail_id))
