"""What an invitation is good for: coming into its tenant once, for whoever has the address that it was sent to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from auth_service.domain import one_time
from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import InvitationRefused, NoSuchTenant
from auth_service.domain.model import Origin, Owner, TenantRole, User
from auth_service.domain.moving import Mover
from auth_service.domain.ports import Database, Transaction

__all__ = ["Guests", "Invitation"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """One that was good when it was looked for; `email` is whom it was sent to."""

    id: UUID
    tenant_id: UUID
    email: str
    role: TenantRole


class Guests:
    """All of it raises InvitationRefused for what is unknown, used, withdrawn, expired, another's, or of a disabled tenant."""

    def __init__(self, database: Database, auditor: Auditor) -> None:
        self._database = database
        self._mover = Mover(auditor)

    async def find(self, token: str, now: datetime) -> Invitation:
        found = await self._database.lookups.one_time_token(one_time.digest(token))
        if found is None or found.role is None or not found.is_good("invite", now):
            raise InvitationRefused
        return Invitation(found.id, found.tenant_id, found.email, found.role)

    async def move(self, tx: Transaction, who: Owner, invitation: Invitation, origin: Origin, now: datetime) -> User:
        """Of a transaction of the tenant they are in, and of the other from then on. AlreadyMember, LastOwner, TooManyMembers."""
        try:
            moved = await self._mover.move(tx, who, invitation.tenant_id, invitation.role, origin, now)
        except NoSuchTenant:
            raise InvitationRefused from None
        await _spend(tx, invitation, moved, now)
        return moved

    async def admit(self, tx: Transaction, user: User, invitation: Invitation, origin: Origin, now: datetime) -> None:
        """A new user, before they are there. TooManyMembers."""
        tenant = await tx.tenants.lock(invitation.tenant_id)
        if tenant is None or not tenant.is_active:
            raise InvitationRefused
        await self._mover.admit(tx, tenant, user, origin, now)
        await _spend(tx, invitation, user, now)


async def _spend(tx: Transaction, invitation: Invitation, user: User, now: datetime) -> None:
    """Of two at once one is the first; who fails undoes all of it."""
    if user.email.casefold() != invitation.email.casefold() or not await tx.one_time.use(invitation.id, now):
        raise InvitationRefused
