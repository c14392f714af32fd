"""Sessions and the refresh tokens of their families in Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import refresh_token as _tokens
from auth_service.adapters.tables import session as _table
from auth_service.domain.model import RefreshToken, Session

__all__ = ["PostgresSessions"]


class PostgresSessions:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, session: Session, token: RefreshToken) -> None:
        await self._connection.execute(insert(_table).values(asdict(session)))
        await self._connection.execute(insert(_tokens).values(asdict(token)))

    async def lock_family(self, token_sha256: str) -> Session | None:
        of_token = select(_table).join_from(_tokens, _table).where(_tokens.c.token_sha256 == token_sha256)
        # the session's row is the family's lock; having waited for it, Postgres gives the row as it is then
        row = (await self._connection.execute(of_token.with_for_update(of=_table))).mappings().one_or_none()
        return Session(**row) if row is not None else None

    async def tokens(self, digests: Sequence[str]) -> Mapping[str, RefreshToken]:
        rows = await self._connection.execute(select(_tokens).where(_tokens.c.token_sha256.in_(digests)))
        found = [RefreshToken(**row) for row in rows.mappings()]
        return {token.token_sha256: token for token in found}

    async def save_pace(self, session: Session) -> None:
        counted = update(_table).where(_table.c.id == session.id).values(refresh_due_at=session.refresh_due_at)
        await self._connection.execute(counted)

    async def rotate(self, spent: RefreshToken, following: RefreshToken) -> None:
        marked = update(_tokens).where(_tokens.c.id == spent.id).values(spent_at=spent.spent_at)
        await self._connection.execute(marked)
        await self._connection.execute(insert(_tokens).values(asdict(following)))

    async def revoke(self, session_id: UUID, now: datetime) -> Session | None:
        alive = (_table.c.id == session_id, _table.c.revoked_at.is_(None))
        ended = await self._connection.execute(update(_table).where(*alive).values(revoked_at=now).returning(_table))
        row = ended.mappings().one_or_none()
        return Session(**row) if row is not None else None

    async def revoke_all(self, user_id: UUID, now: datetime) -> list[Session]:
        alive = (_table.c.user_id == user_id, _table.c.expires_at > now, _table.c.revoked_at.is_(None))
        ended = await self._connection.execute(update(_table).where(*alive).values(revoked_at=now).returning(_table))
        return sorted((Session(**row) for row in ended.mappings()), key=lambda session: session.id)
