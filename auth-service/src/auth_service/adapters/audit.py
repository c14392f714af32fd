"""The audit trail in Postgres, which is also the outbox."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import ARRAY, BigInteger, Integer, Uuid, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.lookups import rows_of
from auth_service.adapters.tables import audit_event as _table
from auth_service.domain.model import AuditEvent, Origin

__all__ = ["PostgresAuditTrail", "PostgresOutbox"]

RELAY_LOCK = int.from_bytes(b"authrely")
"""Held by the one relay that is taking events (an advisory lock of this database)."""

_origin = ("actor", "request_id", "client_ip")
_event = tuple(column.name for column in _table.c if column.name not in {"recorded", "seq", *_origin})


class PostgresAuditTrail:
    """`wrote` says whether anything was recorded in this transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.wrote = False

    async def record(self, *events: AuditEvent) -> None:
        if not events:
            return
        rows = []
        for event in events:
            columns = asdict(event)
            rows.append({**columns.pop("origin"), **columns})
        await self._connection.execute(insert(_table).values(rows))
        self.wrote = True


class PostgresOutbox:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def take(self, limit: int) -> list[AuditEvent]:
        # waiting rather than giving up: what this process has just written is then published now, not at the next look
        await self._connection.execute(select(func.pg_advisory_xact_lock(literal(RELAY_LOCK, BigInteger))))
        waiting = rows_of(func.auth.outbox_take(literal(limit, Integer)), _table.c)
        return [
            AuditEvent(**{name: row[name] for name in _event}, origin=Origin(**{name: row[name] for name in _origin}))
            for row in (await self._connection.execute(waiting)).mappings()
        ]

    async def mark_published(self, events: Sequence[AuditEvent]) -> None:
        ids = literal([event.id for event in events], ARRAY(Uuid))
        await self._connection.execute(select(func.auth.outbox_seal(ids)))
