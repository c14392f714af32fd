"""Users go from one tenant to another, with their keys and sessions.

Both tenants are locked meanwhile, always in the order of their ids, so that two who change places do not wait for each other; who
changes members or their roles locks the tenant as well. So an owner who goes is never the last one, whatever happens beside it.
"""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import AlreadyMember, LastOwner, NoSuchTenant, NoSuchUser, TooManyMembers
from auth_service.domain.model import Origin, Owner, Tenant, TenantRole, User
from auth_service.domain.ports import Transaction

__all__ = ["MOST_MEMBERS", "Mover", "check_owner_is_left"]

MOST_MEMBERS = 1000
"""Of a tenant: how many share a quota is counted with every credential that is resolved."""


async def check_owner_is_left(tx: Transaction, without: User) -> None:
    """LastOwner when this is the only owner who is not disabled, of a tenant that is locked."""
    if without.tenant_role == "owner" and not await tx.tenants.has_other_owner(without.tenant_id, without.id):
        raise LastOwner


class Mover:
    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    async def move(self, tx: Transaction, who: Owner, to: UUID, role: TenantRole, origin: Origin, now: datetime) -> User:
        """Of a transaction of the tenant they are in. NoSuchUser, NoSuchTenant, AlreadyMember, LastOwner, TooManyMembers."""
        if who.tenant_id == to:
            raise AlreadyMember
        locked = {}
        for tenant_id in sorted({who.tenant_id, to}):
            await tx.enter(tenant_id)
            locked[tenant_id] = await tx.tenants.lock(tenant_id)
        source, target = locked[who.tenant_id], locked[to]
        await tx.enter(who.tenant_id)
        user = await tx.users.lock(who.user_id)
        if source is None or user is None:
            raise NoSuchUser
        if target is None or not target.is_active:
            raise NoSuchTenant
        await self.leave(tx, source, user, origin, now)
        return await self.join(tx, target, user, role, origin, now)

    async def found(self, tx: Transaction, new: Tenant, owner: User, source: Tenant, origin: Origin, now: datetime) -> None:
        """A new tenant, whose owner comes from one that the transaction has locked with them. LastOwner."""
        await self.leave(tx, source, owner, origin, now)
        await tx.enter(new.id)
        await tx.tenants.add(new)
        there = replace(owner, tenant_id=new.id)
        await tx.audit.record(self._auditor.event("tenant", "created", there, origin, now, after=new))
        await self.join(tx, new, owner, "owner", origin, now)

    async def leave(self, tx: Transaction, tenant: Tenant, user: User, origin: Origin, now: datetime) -> None:
        """Of a transaction of this tenant, which it has locked with the user. LastOwner. A tenant without members is closed.

        Who is alone in a personal tenant may leave it; an organisation always has an owner.
        """
        if tenant.personal:
            await self._change(tx, tenant, replace(tenant, is_active=False), user, "closed", origin, now)
            return
        await check_owner_is_left(tx, user)
        await tx.audit.record(self._auditor.event("tenant", "member_removed", user, origin, now))

    async def join(self, tx: Transaction, tenant: Tenant, user: User, role: TenantRole, origin: Origin, now: datetime) -> User:
        """Into a tenant that the transaction has locked or made; it is of that tenant from here on. TooManyMembers."""
        await tx.enter(tenant.id)
        moved = replace(user, tenant_id=tenant.id, tenant_role=role)
        await self.admit(tx, tenant, moved, origin, now)
        await tx.tenants.join(tenant.id, user.id, role)
        await tx.audit.record(self._auditor.event("user", "moved", moved, origin, now, before=user, after=moved))
        return moved

    async def admit(self, tx: Transaction, tenant: Tenant, user: User, origin: Origin, now: datetime) -> None:
        """Before the user is there: whether there is room. A personal tenant in which there is somebody is one no more."""
        members = await tx.tenants.count(tenant.id)
        if members >= MOST_MEMBERS:
            raise TooManyMembers(MOST_MEMBERS)
        if tenant.personal and members:
            await self._change(tx, tenant, replace(tenant, personal=False), user, "updated", origin, now)
        if members:
            await tx.audit.record(self._auditor.event("tenant", "member_added", user, origin, now, role=user.tenant_role))

    async def _change(
        self, tx: Transaction, before: Tenant, after: Tenant, user: User, event: str, origin: Origin, now: datetime
    ) -> None:
        await tx.tenants.save(after)
        await tx.audit.record(self._auditor.event("tenant", event, user, origin, now, before=before, after=after))
