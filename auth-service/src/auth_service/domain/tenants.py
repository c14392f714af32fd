"""Tenants and their members: what one sees of one's own, and what its role in the tenant lets a member do.

    member   sees the tenant and who is in it, and may leave
    admin    changes its name and origins, invites and removes members and admins
    owner    makes owners, and removes them; one is always left

Which tier a tenant has and how its members use that is for administrators of the platform.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import LastOwner, NoSuchMember, NoSuchTenant, NoSuchUser, RoleNeeded
from auth_service.domain.model import Member, Origin, Owner, Quota, Tenant, TenantEntry, TenantRole, User
from auth_service.domain.moving import Mover, check_owner_is_left
from auth_service.domain.ports import AccountFilter, Database, Transaction
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["NewTenant", "TenantAdministration", "TenantService", "check_manages", "check_may_appoint", "locked"]


class TenantService:
    """Of one's own. Every method raises NoSuchUser for a caller who has just gone to another one."""

    def __init__(self, database: Database, *, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)
        self._mover = Mover(self._auditor)

    async def get(self, caller: Owner) -> tuple[Tenant, User]:
        """The tenant, and the caller."""
        async with self._database.transaction(caller.tenant_id) as tx:
            user = await tx.users.by_id(caller.user_id)
            tenant = await tx.tenants.get(caller.tenant_id)
        if user is None or tenant is None:
            raise NoSuchUser
        return tenant, user

    async def change(self, caller: Owner, changes: Mapping[str, Any], origin: Origin) -> tuple[Tenant, User]:
        """`changes` are new values of name or allowed_origins. RoleNeeded."""
        now = self._clock()
        async with self._database.transaction(caller.tenant_id) as tx:
            before, user = await locked(tx, caller)
            check_manages(user)
            after = replace(before, **changes)
            if after != before:
                await tx.tenants.save(after)
                await tx.audit.record(self._auditor.event("tenant", "updated", user, origin, now, before=before, after=after))
        return after, user

    async def members(self, caller: Owner, *, before: UUID | None, limit: int) -> Sequence[Member]:
        async with self._database.transaction(caller.tenant_id) as tx:
            return await tx.tenants.members(caller.tenant_id, before=before, limit=limit)

    async def change_role(self, caller: Owner, member_id: UUID, role: TenantRole, origin: Origin) -> User:
        """RoleNeeded, NoSuchMember, LastOwner."""
        now = self._clock()
        async with self._database.transaction(caller.tenant_id) as tx:
            _, user = await locked(tx, caller)
            check_manages(user)
            before = await _member(tx, member_id)
            check_may_appoint(user, before.tenant_role)
            check_may_appoint(user, role)
            after = replace(before, tenant_role=role)
            if after != before:
                await check_owner_is_left(tx, without=before)
                await tx.users.save(after)
                await tx.audit.record(self._auditor.event("user", "updated", after, origin, now, before=before, after=after))
        return after

    async def remove(self, caller: Owner, member_id: UUID, origin: Origin) -> None:
        """The member, or the caller who leaves, has a personal tenant then. RoleNeeded, NoSuchMember, LastOwner."""
        now = self._clock()
        async with self._database.transaction(caller.tenant_id) as tx:
            tenant, user = await locked(tx, caller)
            if member_id != user.id:
                check_manages(user)
            member = await _member(tx, member_id)
            if member_id != user.id:
                check_may_appoint(user, member.tenant_role)
            if tenant.personal:
                raise LastOwner  # who would find themselves in another one like it
            own = Tenant(self._new_id(), member.username, now)
            await self._mover.found(tx, own, member, tenant, origin, now)


@dataclass(frozen=True, slots=True)
class NewTenant:
    name: str
    owner_id: UUID
    tier: str | None = None
    quota: Quota = "split"


class TenantAdministration:
    """Of all tenants, by administrators of the platform."""

    def __init__(self, database: Database, *, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)
        self._mover = Mover(self._auditor)

    async def create(self, new: NewTenant, origin: Origin) -> Tenant:
        """With an owner, who leaves the tenant they are in. NoSuchUser (for a disabled one, too), LastOwner."""
        source_id = await self._database.lookups.tenant_of_user(new.owner_id)
        if source_id is None:
            raise NoSuchUser
        now = self._clock()
        tenant = Tenant(self._new_id(), new.name, now, personal=False, tier=new.tier, quota=new.quota)
        async with self._database.transaction(source_id) as tx:
            source, owner = await locked(tx, Owner(source_id, new.owner_id))
            if not owner.is_active:
                raise NoSuchUser
            await self._mover.found(tx, tenant, owner, source, origin, now)
        return tenant

    async def get(self, tenant_id: UUID) -> Tenant:
        """NoSuchTenant."""
        async with self._database.transaction(tenant_id) as tx:
            return _existing(await tx.tenants.get(tenant_id))

    async def list(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> Sequence[TenantEntry]:
        return await self._database.listings.tenants(asked, before=before, limit=limit)

    async def change(self, tenant_id: UUID, changes: Mapping[str, Any], origin: Origin) -> Tenant:
        """`changes` are new values of tier (None: each member's own), quota or is_active. NoSuchTenant."""
        now = self._clock()
        async with self._database.transaction(tenant_id) as tx:
            before = _existing(await tx.tenants.lock(tenant_id))
            after = replace(before, **changes)
            if after != before:
                await tx.tenants.save(after)
                await tx.audit.record(self._auditor.event("tenant", "updated", None, origin, now, before=before, after=after))
        return after


def check_may_appoint(user: User, role: TenantRole) -> None:
    """To a role, or away from it. RoleNeeded."""
    if role == "owner" and user.tenant_role != "owner":
        raise RoleNeeded("owners")


def check_manages(user: User) -> None:
    """RoleNeeded."""
    if user.tenant_role == "member":
        raise RoleNeeded("owners and administrators")


async def locked(tx: Transaction, caller: Owner) -> tuple[Tenant, User]:
    """The caller's tenant, in which nobody comes, goes or changes roles until the transaction ends; and the caller."""
    tenant = await tx.tenants.lock(caller.tenant_id)
    user = await tx.users.lock(caller.user_id)
    if tenant is None or user is None:
        raise NoSuchUser
    return tenant, user


async def _member(tx: Transaction, member_id: UUID) -> User:
    member = await tx.users.lock(member_id)
    if member is None:
        raise NoSuchMember
    return member


def _existing(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NoSuchTenant
    return tenant
