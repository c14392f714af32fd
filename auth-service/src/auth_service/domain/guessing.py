"""One password is checked with exactly one verification, whether or not there is such a user, and after it was paid for.

Every attempt is charged before anything is hashed and given back when it succeeds, so attempts sent all at once, to whichever
process, are counted one by one. Sessions and keys are never touched. See `throttling` for how many are free.
"""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import HashingBusy, TooManyAttempts
from auth_service.domain.model import Origin, Owner, User
from auth_service.domain.passwords import prepared
from auth_service.domain.ports import Database, Hasher
from auth_service.domain.standing import counts
from auth_service.domain.throttling import KNOWN_FOR, Bucket, Counting, network_of, seconds_left
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["PasswordGate"]

NOBODY = UUID(int=0)


class PasswordGate:
    """Everything raises TooManyAttempts, and what checks a password HashingBusy as well."""

    def __init__(self, database: Database, hasher: Hasher, counting: Counting, clock: Clock, new_id: IdFactory) -> None:
        self._database = database
        self._hasher = hasher
        self._counting = counting
        self._clock = clock
        self._auditor = Auditor(new_id)

    async def login(self, name: str, password: str, origin: Origin) -> User | None:
        """The user whose password this is; nobody where the user, or the tenant they are in, is disabled."""
        user = await self._database.lookups.by_login(name)
        account = self._counting.account(user.id if user else None, name)
        # asked for nobody too: an unknown name takes the same statements
        since = self._clock() - KNOWN_FOR
        known = await self._database.lookups.knows_network(user.id if user else NOBODY, network_of(origin.client_ip), since)
        return await self._check(user, account, self._counting.login(account, origin.client_ip, known=known), password, origin)

    async def change(self, owner: Owner, password: str, origin: Origin) -> User | None:
        """The owner, when this is their password."""
        async with self._database.transaction(owner.tenant_id) as tx:
            user = await tx.users.by_id(owner.user_id)
        account = self._counting.account(owner.user_id)
        return await self._check(user, account, self._counting.change(account), password, origin)

    async def registration(self, origin: Origin) -> None:
        await self._charge(self._counting.registration(origin.client_ip), self._clock())

    async def forgotten(self, origin: Origin) -> None:
        await self._charge(self._counting.forgotten(origin.client_ip), self._clock())

    def account(self, owner: Owner) -> str:
        """What the owner's failures are found by."""
        return self._counting.account(owner.user_id)

    async def _check(self, user: User | None, account: str, buckets: list[Bucket], password: str, origin: Origin) -> User | None:
        now = self._clock()
        blocked = await self._charge(buckets, now)
        try:
            right = await self._hasher.verify(user.password_hash if user else None, prepared(password), nobody=account)
        except HashingBusy:  # it was no guess; but a flood must not make failures forgotten either
            await self._database.throttle.refund([replace(bucket, forgiving=False) for bucket in buckets], now)
            raise
        if user is not None and right and await self._counts(user):
            await self._database.throttle.refund(buckets, now)
            return user
        if blocked:
            await self._record_blocked(user, origin)
        return None

    async def _counts(self, user: User) -> bool:
        async with self._database.transaction(user.tenant_id) as tx:
            return await counts(tx, user)

    async def _charge(self, buckets: list[Bucket], now: datetime) -> bool:
        """Whether one of an account's has come to its longest wait."""
        charge = await self._database.throttle.charge(buckets, now)
        until = charge.blocked_until
        if not charge.admitted:
            policies = sorted({bucket.policy for bucket in buckets if bucket.key in until}, reverse=True)
            raise TooManyAttempts(seconds_left(list(until.values()), now), policies)
        return any(bucket.account and bucket.pace.is_longest(until[bucket.key], now) for bucket in buckets)

    async def _record_blocked(self, user: User | None, origin: Origin) -> None:
        async with self._database.transaction(user.tenant_id if user else NOBODY) as tx:
            if user is not None:
                await tx.audit.record(self._auditor.event("guess", "blocked", user, origin, self._clock()))
            else:
                await tx.users.by_id(NOBODY)
