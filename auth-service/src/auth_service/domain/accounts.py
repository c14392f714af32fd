"""Users and the personal tenant each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import NoSuchUser, WrongPassword
from auth_service.domain.guessing import PasswordGate, guess_key
from auth_service.domain.model import FREE, Origin, Owner, Tenant, User, UserEntry
from auth_service.domain.passwords import accepted
from auth_service.domain.ports import AccountFilter, Database, Hasher
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


class Accounts:
    def __init__(self, database: Database, hasher: Hasher, gate: PasswordGate, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._hasher = hasher
        self._gate = gate
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)

    async def register(self, new: NewUser, origin: Origin) -> User:
        """The user and their tenant, or neither. AlreadyRegistered, InvalidInput for an unfit password."""
        hashed = await self._hasher.hash(accepted(new.password))
        now = self._clock()
        tenant = Tenant(self._new_id(), new.username, now)
        user = User(
            id=self._new_id(),
            tenant_id=tenant.id,
            username=new.username,
            email=new.email,
            password_hash=hashed,
            tier=new.tier,
            roles=new.roles,
            is_active=True,
            created_at=now,
            password_changed_at=now,
        )
        async with self._database.transaction(tenant.id) as tx:
            await tx.users.add(tenant, user)
            await tx.audit.record(
                self._auditor.event("tenant", "created", user, origin, now, after=tenant),
                self._auditor.event("user", "registered", user, origin, now, after=user),
            )
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

    async def change(self, owner: Owner, changes: Mapping[str, Any], origin: Origin) -> User:
        """`changes` are new values of email, tier or is_active; NoSuchUser, AlreadyRegistered. Nothing new is no event."""
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
        """Ends every session, this one too; keys stay. WrongPassword, TooManyGuesses, InvalidInput."""
        replacement = accepted(new, field="new_password")
        # counted apart from logins: who is being guessed at must still be able to change the password
        user = await self._gate.check(guess_key("change", str(owner.user_id)), lambda: self._by_id(owner), current)
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
            ended = await tx.sessions.revoke_all(owner.user_id, now)
            await tx.audit.record(
                self._auditor.event("user", "password_changed", changed, origin, now, before=locked, after=changed),
                *self._auditor.ended(ended, changed, origin, now, reason="password"),
            )

    async def _by_id(self, owner: Owner) -> User | None:
        async with self._database.transaction(owner.tenant_id) as tx:
            return await tx.users.by_id(owner.user_id)
