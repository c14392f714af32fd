"""The audit trail in Postgres, which is also the outbox.

Rows of every tenant are read and sealed through functions of the schema's owner (`migrations`, 0003); what a change records is
inserted by the app, under the rules of its tenant.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    Integer,
    LargeBinary,
    RowMapping,
    Select,
    Text,
    Uuid,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.lookups import rows_of
from auth_service.adapters.tables import audit_event as _table
from auth_service.adapters.tables import audit_head as _heads
from auth_service.adapters.tables import audit_relay as _relay
from auth_service.domain.chain import GENESIS, Head, Link, Recorded, Sealed
from auth_service.domain.model import AuditEvent, Origin
from auth_service.domain.ports import AuditFilter
from shared.replica import Replicated

__all__ = ["PostgresAuditTrail", "PostgresOutbox", "PostgresTrail"]

SEAL_LOCK = int.from_bytes(b"authrely")
"""Held by the one relay that is making links (an advisory lock of this database)."""
PUBLISH_LOCK = int.from_bytes(b"authpubl")

_EVERYTHING = AuditFilter()
_NEWEST_HEAD = select(_heads).order_by(_heads.c.seq.desc()).limit(1)
_LAST = (1 << 63) - 1
_time = DateTime(timezone=True)
_origin = ("actor", "request_id", "client_ip")
_event = tuple(one.name for one in _table.c if one.name not in {"recorded", "seq", "hash", *_origin})


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


class PostgresTrail:
    """From a replica where there is one: what it does not have yet comes with the next page."""

    def __init__(self, reader: Replicated) -> None:
        self._reader = reader

    async def newest(self, asked: AuditFilter, *, before: int | None, limit: int) -> list[Sealed]:
        rows = await self._reader.fetch(_page(asked, before=before, ascending=False, limit=limit))
        return [_sealed(row) for row in rows]

    async def oldest(self, asked: AuditFilter, *, after: int, limit: int) -> list[Sealed]:
        return [_sealed(row) for row in await self._reader.fetch(_page(asked, after=after, limit=limit))]

    async def head(self) -> Head | None:
        rows = await self._reader.fetch(_NEWEST_HEAD)
        return _head(rows[0]) if rows else None

    async def heads(self) -> list[Head]:
        """Every one that was signed."""
        return [_head(row) for row in await self._reader.fetch(select(_heads))]


class PostgresOutbox:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock_sealing(self) -> None:
        await self._lock(SEAL_LOCK)

    async def lock_publishing(self) -> None:
        await self._lock(PUBLISH_LOCK)

    async def last(self) -> Link:
        row = (await self._connection.execute(_page(_EVERYTHING, ascending=False, limit=1))).mappings().one_or_none()
        return _sealed(row).link if row is not None else GENESIS

    async def unsealed(self, limit: int) -> list[Recorded]:
        rows = await self._connection.execute(rows_of(func.auth.outbox_take(literal(limit, Integer)), _table.c))
        return [_recorded(row) for row in rows.mappings()]

    async def seal(self, rows: Sequence[Sealed]) -> None:
        ids = literal([row.event.id for row in rows], ARRAY(Uuid))
        seqs = literal([row.link.seq for row in rows], ARRAY(BigInteger))
        hashes = literal([row.link.hash for row in rows], ARRAY(LargeBinary))
        await self._connection.execute(select(func.auth.outbox_seal(ids, seqs, hashes)))

    async def published(self) -> int:
        return int((await self._connection.execute(select(_relay.c.published_seq).where(_relay.c.single))).scalar_one())

    async def sealed(self, *, after: int, limit: int) -> list[Sealed]:
        rows = await self._connection.execute(_page(_EVERYTHING, after=after, limit=limit))
        return [_sealed(row) for row in rows.mappings()]

    async def mark_published(self, seq: int) -> None:
        await self._connection.execute(update(_relay).where(_relay.c.single).values(published_seq=seq))

    async def before(self, moment: datetime) -> int:
        found = await self._connection.execute(select(func.auth.audit_seq_before(literal(moment, _time))))
        return int(found.scalar_one())

    async def head(self) -> Head | None:
        row = (await self._connection.execute(_NEWEST_HEAD)).mappings().one_or_none()
        return _head(row) if row is not None else None

    async def add_head(self, head: Head) -> None:
        signed = {"signed_at": head.signed_at, "kid": head.kid, "signature": head.signature}
        await self._connection.execute(insert(_heads).values(seq=head.link.seq, hash=head.link.hash, **signed))

    async def _lock(self, number: int) -> None:
        await self._connection.execute(select(func.pg_advisory_xact_lock(literal(number, BigInteger))))


def _page(asked: AuditFilter, *, after: int = 0, before: int | None = None, ascending: bool = True, limit: int) -> Select[Any]:
    call = func.auth.audit_page(
        literal(asked.user_id, Uuid),
        literal(asked.tenant_id, Uuid),
        literal(asked.actor, Text),
        literal(asked.noun, Text),
        literal(asked.event, Text),
        literal(asked.since, _time),
        literal(asked.until, _time),
        literal(asked.request_id, Text),
        literal(after, BigInteger),
        literal(before if before is not None else _LAST, BigInteger),
        literal(ascending, Boolean),
        literal(limit, Integer),
    )
    return rows_of(call, _table.c)


def _sealed(row: RowMapping) -> Sealed:
    return Sealed(Link(row["seq"], row["hash"]), _recorded(row))


def _head(row: RowMapping) -> Head:
    return Head(Link(row["seq"], row["hash"]), row["signed_at"], row["kid"], row["signature"])


def _recorded(row: RowMapping) -> Recorded:
    origin = Origin(**{name: row[name] for name in _origin})
    return Recorded(row["recorded"], AuditEvent(**{name: row[name] for name in _event}, origin=origin))
