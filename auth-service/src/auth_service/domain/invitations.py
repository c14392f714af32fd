"""Inviting somebody into a tenant: a mail to their address, with a token.

The mail is written in the transaction of the invitation, and the token is made of its id, so nothing secret is stored. Who has an
account accepts with it and moves; who has none registers with it, and begins in that tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from auth_service.domain import one_time
from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import InvitationRefused, NoSuchInvitation, NoSuchUser, TooManyInvitations
from auth_service.domain.guests import Guests
from auth_service.domain.model import Letter, Mail, Origin, Owner, Tenant, TenantRole, User
from auth_service.domain.one_time import OneTimeToken
from auth_service.domain.ports import Database
from auth_service.domain.recipients import WINDOW, check_recipient, mailbox_of
from auth_service.domain.tenants import check_manages, check_may_appoint, locked
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["LIFETIME", "MOST_INVITATIONS", "InvitationRules", "Invitations"]

LIFETIME = timedelta(days=7)
MOST_INVITATIONS = 100
"""Of a tenant in a week, accepted or not: they are mails to people who have not asked for one."""

_WITHOUT_PAGE = """\
With an account, log in and send this token to /api/v1/tenant/invitations/accept; without one, register with it as `invitation`:
{token}"""
_TEXT = """\
You are invited to join “{tenant}” as {role}.

{how}

It works once, for this address, until {until} UTC. Whoever joins leaves the tenant they are in, and takes their API keys along.
If you do not know what this is about, nothing has to be done.
"""


@dataclass(frozen=True, slots=True)
class InvitationRules:
    """`key` makes the tokens; `url` is the page that takes one behind its #, or empty where there is none."""

    key: bytes = field(repr=False)
    url: str


class Invitations:
    def __init__(self, database: Database, rules: InvitationRules, *, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)
        self._guests = Guests(database, self._auditor)

    async def invite(self, caller: Owner, email: str, role: TenantRole, origin: Origin) -> OneTimeToken:
        """Ends those before it to the same address. RoleNeeded, TooManyInvitations, TooManyToAddress."""
        now = self._clock()
        mail = Mail(self._new_id(), "invite", email, now)
        digest = one_time.digest(one_time.token_of(self._rules.key, mail.id))
        mailbox = mailbox_of(email)
        invitation = OneTimeToken(
            mail.id, caller.tenant_id, None, "invite", email, digest, now, now + LIFETIME, role, mailbox=mailbox
        )
        async with self._database.transaction(caller.tenant_id) as tx:
            _, user = await locked(tx, caller)
            check_manages(user)
            check_may_appoint(user, role)
            if await tx.one_time.count_invitations(caller.tenant_id, since=now - LIFETIME) >= MOST_INVITATIONS:
                raise TooManyInvitations(MOST_INVITATIONS)
            check_recipient(await tx.one_time.invitations_to(mailbox, since=now - WINDOW), now)
            await tx.one_time.void_invitations(caller.tenant_id, email, now)
            await tx.one_time.add(invitation)
            await tx.mails.add(mail)
            event = self._auditor.event(
                "tenant", "member_invited", user, origin, now, invitation_id=str(invitation.id), role=role
            )
            await tx.audit.record(event)
        return invitation

    async def list(self, caller: Owner, *, before: UUID | None, limit: int) -> Sequence[OneTimeToken]:
        """Those of the tenant that can be accepted, newest first. RoleNeeded, for they name addresses; NoSuchUser."""
        async with self._database.transaction(caller.tenant_id) as tx:
            user = await tx.users.by_id(caller.user_id)
            if user is None:
                raise NoSuchUser
            check_manages(user)
            return await tx.one_time.open_invitations(caller.tenant_id, self._clock(), before=before, limit=limit)

    async def withdraw(self, caller: Owner, invitation_id: UUID, origin: Origin) -> None:
        """RoleNeeded; NoSuchInvitation for one of another tenant, or one that was accepted or has expired."""
        now = self._clock()
        async with self._database.transaction(caller.tenant_id) as tx:
            _, user = await locked(tx, caller)
            check_manages(user)
            if not await tx.one_time.use_invitation(invitation_id, now):
                raise NoSuchInvitation
            event = self._auditor.event("tenant", "invitation_withdrawn", user, origin, now, invitation_id=str(invitation_id))
            await tx.audit.record(event)

    async def letter(self, mail: Mail) -> Letter | None:
        """What is sent; None for one that was withdrawn before."""
        token = one_time.token_of(self._rules.key, mail.id)
        invitation = await self._database.lookups.one_time_token(one_time.digest(token))
        if invitation is None or not invitation.is_good("invite", self._clock()):
            return None
        async with self._database.transaction(invitation.tenant_id) as tx:
            tenant = await tx.tenants.get(invitation.tenant_id)
        if tenant is None or not tenant.is_active:
            return None
        how = f"Open {self._rules.url}#{token}" if self._rules.url else _WITHOUT_PAGE.format(token=token)
        text = _TEXT.format(tenant=tenant.name, role=invitation.role, how=how, until=f"{invitation.expires_at:%Y-%m-%d %H:%M}")
        return Letter(mail.id, invitation.email, "You are invited to join a tenant", text)

    async def accept(self, caller: Owner, token: str, origin: Origin) -> tuple[Tenant, User]:
        """InvitationRefused, AlreadyMember, LastOwner, TooManyMembers."""
        now = self._clock()
        invitation = await self._guests.find(token, now)
        async with self._database.transaction(caller.tenant_id) as tx:
            user = await self._guests.move(tx, caller, invitation, origin, now)
            tenant = await tx.tenants.get(user.tenant_id)
        if tenant is None:
            raise InvitationRefused
        return tenant, user
