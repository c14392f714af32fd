"""A new password for who has forgotten the old one, by a mail to their address.

Asking writes down the address and nothing else: the answer and the work are the same whether or not anybody has it. Whose it is,
is looked up when the mail is sent, once in a quarter of an hour for an account however often it was asked.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from auth_service.domain import one_time
from auth_service.domain.auditing import Auditor
from auth_service.domain.errors import ResetRefused
from auth_service.domain.guessing import PasswordGate
from auth_service.domain.model import Letter, Mail, Origin
from auth_service.domain.one_time import OneTimeToken
from auth_service.domain.passwords import accepted
from auth_service.domain.ports import Database, Hasher
from auth_service.domain.standing import counts
from auth_service.domain.throttling import network_of
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["ResetRules", "Resets"]

ONE_IN = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ResetRules:
    """`key` makes the tokens; `url` is the page that takes one behind its #, or empty where there is none."""

    key: bytes = field(repr=False)
    lifetime: timedelta
    url: str


class Resets:
    def __init__(
        self, database: Database, hasher: Hasher, gate: PasswordGate, rules: ResetRules, *, clock: Clock, new_id: IdFactory
    ) -> None:
        self._database = database
        self._hasher = hasher
        self._gate = gate
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._auditor = Auditor(new_id)

    async def forgot(self, email: str, origin: Origin) -> None:
        """TooManyAttempts, of the address that asks."""
        await self._gate.forgotten(origin)
        await self._database.mails.add(Mail(self._new_id(), "reset", email, self._clock()))

    async def letter(self, mail: Mail) -> Letter | None:
        """What is sent; None where the address is nobody's who may log in, or was sent a mail just before."""
        user = await self._database.lookups.by_login(mail.address)
        if user is None:
            return None
        token = one_time.token_of(self._rules.key, mail.id)
        expires_at = mail.made_at + self._rules.lifetime
        async with self._database.transaction(user.tenant_id) as tx:
            # the lock makes one of those that are sent at the same time the first
            user = await tx.users.lock(user.id)
            if user is None or user.email.casefold() != mail.address.casefold() or not await counts(tx, user):
                return None
            newest = await tx.one_time.newest(user.id, "reset")
            if newest is not None and newest.id != mail.id and mail.made_at - newest.created_at < ONE_IN:
                return None
            digest = one_time.digest(token)
            await tx.one_time.add(
                OneTimeToken(mail.id, user.tenant_id, user.id, "reset", user.email, digest, mail.made_at, expires_at)
            )
        how = (
            f"Open {self._rules.url}#{token}" if self._rules.url else f"Send this token to /api/v1/auth/password/reset:\n{token}"
        )
        text = (
            "Somebody, probably you, asked to choose a new password for the account of this address.\n\n"
            f"{how}\n\nIt works once, until {expires_at:%Y-%m-%d %H:%M} UTC.\n"
            "If it was not you, nothing has to be done: without this mail nothing changes.\n"
        )
        return Letter(mail.id, user.email, "Choose a new password", text)

    async def reset(self, token: str, new_password: str, origin: Origin) -> None:
        """Ends every session and every wait after failed attempts; keys stay. ResetRefused, HashingBusy, InvalidInput."""
        replacement = accepted(new_password, field="new_password")
        found = await self._database.lookups.one_time_token(one_time.digest(token))
        if found is None or found.user_id is None or not found.is_good("reset", self._clock()):
            raise ResetRefused
        hashed = await self._hasher.hash(replacement)
        now = self._clock()
        async with self._database.transaction(found.tenant_id) as tx:
            user = await tx.users.lock(found.user_id)
            if user is None or not await counts(tx, user) or not await tx.one_time.use(found.id, now):
                raise ResetRefused
            await tx.one_time.void(user.id, "reset", now)
            changed = replace(user, password_hash=hashed, password_changed_at=now)
            await tx.users.save(changed)
            ended = await tx.sessions.revoke_all(user.id, now)
            await tx.unlocking.clear(self._gate.account(user.owner))
            await tx.networks.know(user.owner, network_of(origin.client_ip), now)
            await tx.mails.add(Mail(self._new_id(), "password_changed", user.email, now))
            await tx.audit.record(
                self._auditor.event("user", "password_reset", changed, origin, now, before=user, after=changed),
                *self._auditor.ended(ended, changed, origin, now, reason="password"),
            )
