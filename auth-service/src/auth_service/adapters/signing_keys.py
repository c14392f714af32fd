"""The ring of signing keys in Postgres: no tenant, and no secret."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Table, Uuid, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import metadata
from auth_service.domain.signing import SigningKey

__all__ = ["PostgresSigningKeys", "signing_key"]

ROTATION_LOCK = int.from_bytes(b"authring")
"""Held by the one rotation that is under way (an advisory lock of this database)."""

signing_key = Table(
    "signing_key",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("signs_from", DateTime(timezone=True), nullable=False),
    Column("verify_until", DateTime(timezone=True), nullable=True),
)


class PostgresSigningKeys:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def published(self, now: datetime) -> Sequence[SigningKey]:
        until = signing_key.c.verify_until
        rows = await self._connection.execute(select(signing_key).where(or_(until.is_(None), until > now)))
        return [SigningKey(**row) for row in rows.mappings()]

    async def all(self) -> Sequence[SigningKey]:
        rows = await self._connection.execute(select(signing_key).order_by(signing_key.c.signs_from, signing_key.c.id))
        return [SigningKey(**row) for row in rows.mappings()]

    async def lock(self) -> Sequence[SigningKey]:
        await self._connection.execute(select(func.pg_advisory_xact_lock(literal(ROTATION_LOCK, BigInteger))))
        return await self.all()

    async def put(self, *keys: SigningKey) -> None:
        statement = insert(signing_key).values([asdict(key) for key in keys])
        changed = {"verify_until": statement.excluded.verify_until}
        await self._connection.execute(statement.on_conflict_do_update(index_elements=[signing_key.c.id], set_=changed))
