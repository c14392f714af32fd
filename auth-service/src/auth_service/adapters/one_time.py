"""Tokens that are used once in Postgres."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, DateTime, Text, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.lookups import rows_of
from auth_service.adapters.tables import one_time_token as _table
from auth_service.domain.one_time import OneTimeToken, Purpose
from auth_service.domain.recipients import Invited

__all__ = ["PostgresOneTimeTokens"]

_unused = _table.c.used_at.is_(None)
_INVITATIONS_TO = rows_of(
    func.auth.invitations_to(bindparam("mailbox", type_=Text), bindparam("since", type_=DateTime(timezone=True))),
    (column("ours", Boolean), _table.c.created_at),
)


class PostgresOneTimeTokens:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, token: OneTimeToken) -> None:
        digest = {"token_sha256": token.token_sha256}
        added = insert(_table).values(asdict(token)).on_conflict_do_update(index_elements=["id"], set_=digest, where=_unused)
        await self._connection.execute(added)

    async def newest(self, user_id: UUID, purpose: Purpose) -> OneTimeToken | None:
        of_user = select(_table).where(_table.c.user_id == user_id, _table.c.purpose == purpose)
        newest = of_user.order_by(_table.c.created_at.desc()).limit(1)
        row = (await self._connection.execute(newest)).mappings().one_or_none()
        return OneTimeToken(**row) if row is not None else None

    async def use(self, token_id: UUID, now: datetime) -> bool:
        good = (_table.c.id == token_id, _unused, _table.c.expires_at > now)
        return (await self._connection.execute(update(_table).where(*good).values(used_at=now))).rowcount == 1

    async def void(self, user_id: UUID, purpose: Purpose, now: datetime) -> None:
        of_user = (_table.c.user_id == user_id, _table.c.purpose == purpose)
        await self._connection.execute(update(_table).where(*of_user, _unused).values(used_at=now))

    async def count_invitations(self, tenant_id: UUID, *, since: datetime) -> int:
        made = (*_invitations(tenant_id), _table.c.created_at > since)
        return (await self._connection.execute(select(func.count()).select_from(_table).where(*made))).scalar_one()

    async def invitations_to(self, mailbox: str, *, since: datetime) -> list[Invited]:
        given = {"mailbox": mailbox, "since": since}
        return [Invited(row.ours, row.created_at) for row in await self._connection.execute(_INVITATIONS_TO, given)]

    async def open_invitations(self, tenant_id: UUID, now: datetime, *, before: UUID | None, limit: int) -> list[OneTimeToken]:
        good = (*_invitations(tenant_id), _unused, _table.c.expires_at > now)
        page = select(_table).where(*good).order_by(_table.c.id.desc()).limit(limit)
        if before is not None:
            page = page.where(_table.c.id < before)
        return [OneTimeToken(**row) for row in (await self._connection.execute(page)).mappings()]

    async def void_invitations(self, tenant_id: UUID, email: str, now: datetime) -> None:
        same = (*_invitations(tenant_id), func.lower(_table.c.email) == email.lower())
        await self._connection.execute(update(_table).where(*same, _unused).values(used_at=now))

    async def use_invitation(self, invitation_id: UUID, now: datetime) -> bool:
        good = (_table.c.id == invitation_id, _table.c.purpose == "invite", _unused, _table.c.expires_at > now)
        return (await self._connection.execute(update(_table).where(*good).values(used_at=now))).rowcount == 1


def _invitations(tenant_id: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _table.c.tenant_id == tenant_id, _table.c.purpose == "invite"
