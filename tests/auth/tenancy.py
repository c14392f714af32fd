"""Tenants with several members, for tests."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

from auth_service.app import database_of
from auth_service.domain.auditing import Auditor
from auth_service.domain.model import Origin, Owner, TenantRole
from auth_service.domain.moving import Mover
from auth_service.domain.ports import Database
from shared.clock import system_clock
from shared.ids import new_id
from tests.auth.auth_world import Person, World, administrator


async def move(database: Database, who: Owner, to: UUID, role: TenantRole = "member") -> None:
    """As who accepts an invitation moves."""
    async with database.transaction(who.tenant_id) as tx:
        await Mover(Auditor(new_id)).move(tx, who, to, role, Origin(str(who.user_id)), system_clock())


async def moved(world: World, person: Person, to: UUID, role: TenantRole = "member") -> Person:
    """The person, who is in that tenant now."""
    async with database_of(world.settings, asyncio.Event()) as database:
        await move(database, Owner(person.tenant_id, person.id), to, role)
    return there(person, to)


def there(person: Person, tenant_id: UUID) -> Person:
    principal = person.principal.model_copy(update={"tenant_id": str(tenant_id)})
    return replace(person, tenant_id=tenant_id, principal=principal)


async def organisation(world: World, **given: Any) -> Person:
    """Its owner, logged in."""
    person = await world.member()
    body = {"name": "Engines", "owner_id": str(person.id), **given}
    answer = await world.call("POST", "/api/v1/admin/tenants", administrator(), json=body)
    assert answer.status_code == 201, answer.text
    return there(person, UUID(answer.json()["id"]))


async def with_member(world: World, owner: Person, role: TenantRole = "member") -> Person:
    return await moved(world, await world.member(), owner.tenant_id, role)
