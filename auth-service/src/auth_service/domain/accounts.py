"""Users and the personal tenant each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import NoSuchUser, WrongPassword
from auth_service.domain.guessing import PasswordGate
from auth_service.domain.guests import Guests
from auth_service.domain.model import FREE, Mail, Origin, Owner, Tenant, User, UserEntry
from auth_service.domain.passwords import accepted
from auth_service.domain.ports import AccountFilter, Database, Hasher
from auth_service.domain.throttling import network_of
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["USERNAME_PATTERN", "Accounts", "NewUser"]

USERNAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$"
"""3 to 64 characters; never an @, which is how a user name and an e-mail address are told apart."""


@dataclass(frozen=True, slots=True)
class NewUser:
    username: str
    email: str
    password: str = field(repr=False)
    tier: str = FREE
    roles: tuple[str, ...] = ()
    invitation: str | None = field(default=None, repr=False)


class Accounts:
    def __init__(self, database: Database, hasher: Hasher, gate: PasswordGate, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._hasher = hasher
        self._gate = gate
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)
        self._guests = Guests(database, self._auditor)

    async def register(self, new: NewUser, origin: Origin) -> User:
        """The user and their tenant, or neither; with an invitation, in the tenant that it is of. AlreadyRegistered,
        InvitationRefused, TooManyMembers, TooManyAttempts, InvalidInput for an unfit password."""
        password = accepted(new.password)
        await self._gate.registration(origin)
        invited = await self._guests.find(new.invitation, self._clock()) if new.invitation is not None else None
        hashed = await self._hasher.hash(password)
        now = self._clock()
        user = User(
            id=self._new_id(),
            tenant_id=invited.tenant_id if invited is not None else self._new_id(),
            username=new.username,
            email=new.email,
            password_hash=hashed,
            tier=new.tier,
            roles=new.roles,
            is_active=True,
            created_at=now,
            password_changed_at=now,
            tenant_role=invited.role if invited is not None else "owner",
        )
        async with self._database.transaction(user.tenant_id) as tx:
            if invited is not None:
                await self._guests.admit(tx, user, invited, origin, now)
                await tx.users.add_member(user)
            else:
                tenant = Tenant(user.tenant_id, new.username, now)
                await tx.users.add(tenant, user)
                await tx.audit.record(self._auditor.event("tenant", "created", user, origin, now, after=tenant))
            if origin.client_ip is not None:
                await tx.networks.know(user.owner, network_of(origin.client_ip), now)
            await tx.audit.record(self._auditor.event("user", "registered", user, origin, now, after=user))
        return user

    async def get(self, owner: Owner) -> User:
        user = await self._by_id(owner)
        if user is None:
            raise NoSuchUser
        return user

    async def find(self, username: str) -> User | None:
        return await self._database.lookups.by_login(username)

    async def list(self, asked: AccountFilter, *, before: UUID | None, limit: int) -> Sequence[UserEntry]:
        return await self._database.listings.users(asked, before=before, limit=limit)

    async def owner(self, user_id: UUID) -> Owner:
        """For whoever may ask about users of any tenant; NoSuchUser."""
        tenant_id = await self._database.lookups.tenant_of_user(user_id)
        if tenant_id is None:
            raise NoSuchUser
        return Owner(tenant_id, user_id)

    async def change_email(self, owner: Owner, email: str, current_password: str, origin: Origin) -> User:
        """The address before is told. WrongPassword, TooManyAttempts, AlreadyRegistered."""
        user = await self._gate.change(owner, current_password, origin)
        if user is None:
            raise WrongPassword
        now = self._clock()
        async with self._database.transaction(owner.tenant_id) as tx:
            before = await tx.users.lock(owner.user_id)
            # the check ran without a lock: who was shut out by a new password meanwhile does not take the account by its address
            if before is None or before.password_changed_at != user.password_changed_at:
                raise WrongPassword
            after = replace(before, email=email)
            if after != before:
                await tx.users.save(after)
                await tx.one_time.void(owner.user_id, "reset", now)
                await tx.mails.add(Mail(self._new_id(), "email_changed", before.email, now))
                await tx.audit.record(self._auditor.event("user", "updated", after, origin, now, before=before, after=after))
        return after

    async def change(self, owner: Owner, changes: Mapping[str, Any], origin: Origin) -> User:
        """`changes` are new values of tier or is_active; NoSuchUser. Nothing new is no event."""
        now = self._clock()
        async with self._database.transaction(owner.tenant_id) as tx:
            before = await tx.users.lock(owner.user_id)
            if before is None:
                raise NoSuchUser
            after = replace(before, **changes)
            if after != before:
                await tx.users.save(after)
                await tx.audit.record(self._auditor.event("user", "updated", after, origin, now, before=before, after=after))
        return after

    async def change_password(self, owner: Owner, current: str, new: str, origin: Origin) -> None:
        """Ends every session, this one too; keys stay. WrongPassword, TooManyAttempts, InvalidInput."""
        replacement = accepted(new, field="new_password")
        user = await self._gate.change(owner, current, origin)
        if user is None:
            raise WrongPassword
        hashed = await self._hasher.hash(replacement)
        now = self._clock()
        async with self._database.transaction(owner.tenant_id) as tx:
            locked = await tx.users.lock(owner.user_id)
            if locked is None or locked.password_changed_at != user.password_changed_at:
                raise WrongPassword
            changed = replace(locked, password_hash=hashed, password_changed_at=now)
            await tx.users.save(changed)
            await tx.one_time.void(owner.user_id, "reset", now)
            await tx.mails.add(Mail(self._new_id(), "password_changed", locked.email, now))
            ended = await tx.sessions.revoke_all(owner.user_id, now)
            await tx.audit.record(
                self._auditor.event("user", "password_changed", changed, origin, now, before=locked, after=changed),
                *self._auditor.ended(ended, changed, origin, now, reason="password"),
            )

    async def unlock(self, owner: Owner, origin: Origin) -> None:
        """Forgets every failed attempt at the account; NoSuchUser."""
        async with self._database.transaction(owner.tenant_id) as tx:
            user = await tx.users.by_id(owner.user_id)
            if user is None:
                raise NoSuchUser
            if await tx.unlocking.clear(self._gate.account(owner)):
                await tx.audit.record(self._auditor.event("guess", "unlocked", user, origin, self._clock()))

    async def _by_id(self, owner: Owner) -> User | None:
        async with self._database.transaction(owner.tenant_id) as tx:
            return await tx.users.by_id(owner.user_id)
