"""Whom a credential stands for: its owner, read with it in one statement."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, Uuid, null, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import user_account
from auth_service.domain.model import Resolved

__all__ = ["owner_of", "resolved"]

_no_id = type_coerce(null(), Uuid)


def owner_of(credential: Table, *, key_id: ColumnElement[UUID] = _no_id, session_id: ColumnElement[UUID] = _no_id) -> Select[Any]:
    """The columns of `Resolved`, of a credential not revoked and an active owner; the caller adds which one, and its expiry."""
    owner = user_account.c
    columns: list[ColumnElement[Any]] = [
        owner.id.label("user_id"),
        owner.tenant_id,
        owner.tier,
        owner.roles,
        session_id.label("session_id"),
        key_id.label("key_id"),
        credential.c.expires_at,
    ]
    return select(*columns).join_from(credential, user_account).where(credential.c.revoked_at.is_(None), owner.is_active)


async def resolved(connection: AsyncConnection, statement: Select[Any]) -> Resolved | None:
    row = (await connection.execute(statement)).mappings().one_or_none()
    return Resolved(**{**row, "roles": tuple(row["roles"])}) if row is not None else None
