"""Tenants and who is in them, in Postgres."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, Text, Uuid, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from auth_service.adapters.tables import tenant as _table
from auth_service.adapters.tables import user_account as _users
from auth_service.domain.model import Member, Tenant, TenantRole

__all__ = ["PostgresTenants"]

_ALTERABLE = ("name", "personal", "tier", "quota", "allowed_origins", "is_active")
_member = select(*(_users.c[field.name] for field in fields(Member)))


class PostgresTenants:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, tenant: Tenant) -> None:
        await self._connection.execute(insert(_table).values(_row(tenant)))

    async def get(self, tenant_id: UUID) -> Tenant | None:
        return await self._one(select(_table).where(_table.c.id == tenant_id))

    async def lock(self, tenant_id: UUID) -> Tenant | None:
        # key_share: a user may be added beside it, whose foreign key is checked with FOR KEY SHARE
        return await self._one(select(_table).where(_table.c.id == tenant_id).with_for_update(key_share=True))

    async def save(self, tenant: Tenant) -> None:
        columns = _row(tenant)
        changes = {name: columns[name] for name in _ALTERABLE}
        await self._connection.execute(update(_table).where(_table.c.id == tenant.id).values(changes))

    async def members(self, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[Member]:
        page = _member.where(_users.c.tenant_id == tenant_id).order_by(_users.c.id.desc()).limit(limit)
        if before is not None:
            page = page.where(_users.c.id < before)
        return [Member(**row) for row in (await self._connection.execute(page)).mappings()]

    async def count(self, tenant_id: UUID) -> int:
        counted = select(func.count()).select_from(_users).where(_users.c.tenant_id == tenant_id)
        return (await self._connection.execute(counted)).scalar_one()

    async def has_other_owner(self, tenant_id: UUID, user_id: UUID) -> bool:
        others = select(_users.c.id).where(
            _users.c.tenant_id == tenant_id, _users.c.id != user_id, _users.c.tenant_role == "owner", _users.c.is_active
        )
        return (await self._connection.execute(others.limit(1))).first() is not None

    async def join(self, tenant_id: UUID, user_id: UUID, role: TenantRole) -> bool:
        moved = func.auth.join_tenant(literal(user_id, Uuid), literal(tenant_id, Uuid), literal(role, Text))
        return bool((await self._connection.execute(select(moved))).scalar_one())

    async def _one(self, statement: Select[Any]) -> Tenant | None:
        row = (await self._connection.execute(statement)).mappings().one_or_none()
        return _tenant(row) if row is not None else None


def _tenant(row: RowMapping) -> Tenant:
    return Tenant(**{**row, "allowed_origins": tuple(row["allowed_origins"])})


def _row(tenant: Tenant) -> Mapping[str, Any]:
    # an array is a list to the driver
    return {**asdict(tenant), "allowed_origins": list(tenant.allowed_origins)}
