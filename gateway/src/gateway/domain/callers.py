"""Who is asking: a credential becomes a principal, as auth-service resolves it.

What was resolved is used for 10 seconds. A fact that concerns it ends that at once; a gap in the facts, for everyone. While
auth-service is away, what it said up to five minutes ago still counts, unless a fact has told otherwise since.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.domain.credentials import ApiKey, BearerToken
from gateway.domain.errors import BadCredential
from gateway.domain.ports import AuthService, Identity, Resolved
from gateway.domain.tokens import TokenVerifier
from shared.clock import Clock
from shared.errors import Unavailable
from shared.principal import Principal

__all__ = ["Callers"]

FRESH = timedelta(seconds=10)
STALE = timedelta(minutes=5)
MOST_KNOWN = 50_000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Known:
    resolved: Resolved
    asked_at: datetime

    def counts_at(self, now: datetime, age: timedelta) -> bool:
        expires_at = self.resolved.expires_at
        return now - self.asked_at < age and (expires_at is None or now < expires_at)


class Callers:
    def __init__(self, auth: AuthService, tokens: TokenVerifier, clock: Clock) -> None:
        self._auth = auth
        self._tokens = tokens
        self._clock = clock
        self._known: OrderedDict[Identity, _Known] = OrderedDict()
        self._concerning: dict[str, set[Identity]] = {}
        self._asking: dict[Identity, asyncio.Task[Resolved]] = {}
        self._evictions = 0
        self._expired_before = _NEVER

    def identify(self, credential: ApiKey | BearerToken) -> Identity:
        """BadCredential for a token that is not valid; a key is not looked at yet."""
        if isinstance(credential, ApiKey):
            return Identity(key_sha256=credential.sha256)
        token = self._tokens.verify(credential.text)
        return Identity(user_id=token.user_id, session_id=token.session_id)

    def known(self, identity: Identity) -> Resolved | None:
        """Whom it stands for, without asking anybody; None when it has to be asked for."""
        known = self._known.get(identity)
        if known is not None and known.asked_at > self._expired_before and known.counts_at(self._clock(), FRESH):
            return known.resolved
        return None

    async def resolve(self, identity: Identity) -> Resolved:
        """BadCredential when it stands for nobody valid; Unavailable when nobody can say. Many askers share one question."""
        asking = self._asking.get(identity)
        if asking is None:
            asking = self._asking[identity] = asyncio.create_task(self._ask(identity))
            asking.add_done_callback(lambda task: self._asked(identity, task))
        # shielded: one client that goes away must not take the answer from the others
        return await asyncio.shield(asking)

    def evict(self, *concerned: str) -> None:
        """What is known of these users, tenants, keys or sessions no longer counts, nor what is being asked about anyone now."""
        self._evictions += 1
        # who asks from now on is not to be answered with what was asked before
        self._asking.clear()
        for identity in [identity for one in concerned for identity in self._concerning.get(one, ())]:
            self._forget(identity)

    def expire(self) -> None:
        """Everyone is asked for again; what is known counts only where auth-service cannot be asked."""
        self._expired_before = self._clock()
        self._asking.clear()

    def _asked(self, identity: Identity, task: "asyncio.Task[Resolved]") -> None:
        if self._asking.get(identity) is task:
            del self._asking[identity]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; when nobody does, it is no news either

    async def _ask(self, identity: Identity) -> Resolved:
        evictions, asked_at = self._evictions, self._clock()
        try:
            resolved = await self._auth.resolve(identity)
        except Unavailable:
            known = self._known.get(identity)
            if known is None or not known.counts_at(self._clock(), STALE):
                raise
            return known.resolved
        self._forget(identity)
        if resolved is None:
            raise BadCredential
        # an eviction meanwhile may be about this very answer: it serves those who asked, and nobody after them
        if evictions == self._evictions:
            self._keep(identity, _Known(resolved, asked_at))
        return resolved

    def _keep(self, identity: Identity, known: _Known) -> None:
        self._known[identity] = known
        for concerned in _concerned(known.resolved.principal):
            self._concerning.setdefault(concerned, set()).add(identity)
        while len(self._known) > MOST_KNOWN:
            self._forget(next(iter(self._known)))

    def _forget(self, identity: Identity) -> None:
        known = self._known.pop(identity, None)
        for concerned in _concerned(known.resolved.principal) if known else ():
            identities = self._concerning[concerned]
            identities.discard(identity)
            if not identities:
                del self._concerning[concerned]


def _concerned(principal: Principal) -> tuple[Any, ...]:
    return tuple(one for one in (principal.user_id, principal.tenant_id, principal.key_id, principal.session_id) if one)
