"""Logging in, staying logged in, logging out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from auth_service.domain import refreshing
from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import BadCredentials, RefreshRefused
from auth_service.domain.guessing import PasswordGate
from auth_service.domain.model import Origin, Owner, RefreshToken, Session, User
from auth_service.domain.passwords import prepared
from auth_service.domain.ports import AccessTokens, Database, Hasher, Transaction
from auth_service.domain.refreshing import Verdict
from auth_service.domain.standing import counts
from auth_service.domain.throttling import network_of
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["Grant", "SessionRules", "SessionService"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login or a refresh gives; `expires_in` is the access token's, in seconds."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    tier: str


@dataclass(frozen=True, slots=True)
class SessionRules:
    """`refresh_key` derives successors; a session ends `lifetime` after its login, however often it is refreshed, which is
    `refreshes_per_minute` at most."""

    refresh_key: bytes = field(repr=False)
    lifetime: timedelta
    refreshes_per_minute: int


class SessionService:
    def __init__(
        self,
        database: Database,
        hasher: Hasher,
        gate: PasswordGate,
        tokens: AccessTokens,
        rules: SessionRules,
        *,
        clock: Clock,
        new_id: IdFactory,
        random: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._gate = gate
        self._tokens = tokens
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._auditor = Auditor(new_id)

    async def login(self, name: str, password: str, origin: Origin) -> Grant:
        """By user name or e-mail address. BadCredentials, TooManyAttempts, HashingBusy."""
        user = await self._gate.login(name, password, origin)
        if user is None:
            raise BadCredentials
        rehashed = await self._hasher.hash(prepared(password)) if self._hasher.is_outdated(user.password_hash) else None
        now = self._clock()
        session = Session(self._new_id(), user.tenant_id, user.id, now, now + self._rules.lifetime)
        refresh_token = refreshing.first_token(self._random)
        async with self._database.transaction(user.tenant_id) as tx:
            current = await tx.users.lock(user.id)
            # the check ran without a lock: a password changed or an account disabled meanwhile must win
            if current is None or not current.is_active or current.password_changed_at != user.password_changed_at:
                raise BadCredentials
            if rehashed is not None:
                await tx.users.save(replace(current, password_hash=rehashed))
            await tx.networks.know(user.owner, network_of(origin.client_ip), now)
            await tx.sessions.add(session, self._stored(refresh_token, session, now))
            await tx.audit.record(self._auditor.event("session", "created", current, origin, now, after=session))
        return self._grant(current, session.id, refresh_token)

    async def refresh(self, token: str, origin: Origin) -> Grant:
        """RefreshRefused for a token that is unknown, reused, or of a session, user or tenant no longer valid; TooManyRefreshes,
        after which the token is as good as before."""
        token_sha256, following = refreshing.digest(token), refreshing.successor(self._rules.refresh_key, token)
        tenant_id = await self._database.lookups.tenant_of_token(token_sha256)
        if tenant_id is None:
            raise RefreshRefused
        async with self._database.transaction(tenant_id) as tx:
            session = await tx.sessions.lock_family(token_sha256)
            user = await tx.users.by_id(session.user_id) if session is not None else None
            now = self._clock()
            if session is None or user is None or not refreshing.is_alive(session, now) or not await counts(tx, user):
                raise RefreshRefused
            known = await tx.sessions.tokens([token_sha256, refreshing.digest(following)])
            spent = known[token_sha256]
            verdict = refreshing.judge(spent, known.get(refreshing.digest(following)), now)
            if verdict is Verdict.ROTATE:
                due_at = refreshing.paced(session.refresh_due_at, now, self._rules.refreshes_per_minute)
                await tx.sessions.save_pace(replace(session, refresh_due_at=due_at))
                await tx.sessions.rotate(replace(spent, spent_at=now), self._stored(following, session, now))
            elif verdict is Verdict.REUSE:
                await self._revoke(tx, user, session.id, origin, reason="reuse")
        if verdict is Verdict.REUSE:
            raise RefreshRefused
        return self._grant(user, session.id, following)

    async def logout(self, token: str, origin: Origin) -> None:
        """Ends the token's session; a token nobody has is no error (RFC 7009, section 2.2)."""
        token_sha256 = refreshing.digest(token)
        tenant_id = await self._database.lookups.tenant_of_token(token_sha256)
        if tenant_id is None:
            return
        async with self._database.transaction(tenant_id) as tx:
            session = await tx.sessions.lock_family(token_sha256)
            user = await tx.users.by_id(session.user_id) if session is not None else None
            if session is not None and user is not None:
                await self._revoke(tx, user, session.id, origin, reason="logout")

    async def logout_all(self, owner: Owner, origin: Origin) -> None:
        """Ends every session of the user; keys stay."""
        now = self._clock()
        async with self._database.transaction(owner.tenant_id) as tx:
            user = await tx.users.lock(owner.user_id)
            if user is None:
                return
            ended = await tx.sessions.revoke_all(owner.user_id, now)
            await tx.audit.record(*self._auditor.ended(ended, user, origin, now, reason="logout-all"))

    async def _revoke(self, tx: Transaction, user: User, session_id: UUID, origin: Origin, *, reason: str) -> None:
        now = self._clock()
        session = await tx.sessions.revoke(session_id, now)
        if session is not None:
            await tx.audit.record(*self._auditor.ended([session], user, origin, now, reason=reason))

    def _stored(self, token: str, session: Session, now: datetime) -> RefreshToken:
        return RefreshToken(self._new_id(), session.tenant_id, session.id, refreshing.digest(token), now)

    def _grant(self, user: User, session_id: UUID, refresh_token: str) -> Grant:
        return Grant(self._tokens.issue(user.id, session_id), refresh_token, self._tokens.lifetime_s, user.tier)
