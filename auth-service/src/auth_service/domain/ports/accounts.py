"""Users, the tenants they are in, and the networks they are known at."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.model import Member, Owner, Tenant, TenantRole, User

__all__ = ["Networks", "Tenants", "Users"]


class Users(Protocol):
    async def add(self, tenant: Tenant, user: User) -> None:
        """AlreadyRegistered when the name or the address is taken, in any case of its letters."""

    async def add_member(self, user: User) -> None:
        """As `add`, into a tenant that is there."""

    async def by_id(self, user_id: UUID) -> User | None: ...

    async def lock(self, user_id: UUID) -> User | None:
        """As `by_id`, and nobody else changes it until the transaction ends."""

    async def save(self, user: User) -> None:
        """Writes what may change; AlreadyRegistered when the new address is taken."""


class Tenants(Protocol):
    async def add(self, tenant: Tenant) -> None: ...

    async def get(self, tenant_id: UUID) -> Tenant | None: ...

    async def lock(self, tenant_id: UUID) -> Tenant | None:
        """As `get`, and nobody else changes it, nor who its members and owners are, until the transaction ends."""

    async def save(self, tenant: Tenant) -> None: ...

    async def members(self, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[Member]:
        """Newest users first; those older than `before`."""

    async def count(self, tenant_id: UUID) -> int:
        """Members, disabled ones too."""

    async def has_other_owner(self, tenant_id: UUID, user_id: UUID) -> bool:
        """Whether an owner who is not disabled is left without this user."""

    async def join(self, tenant_id: UUID, user_id: UUID, role: TenantRole) -> bool:
        """A user of any tenant comes into the one of the transaction, with their keys and sessions. False for nobody."""


class Networks(Protocol):
    async def know(self, owner: Owner, network: str, now: datetime) -> None:
        """The owner has just shown their password from there."""
