"""Who is asking: a credential becomes a principal, as auth-service resolves it.

What was resolved is used for 10 seconds. A fact that concerns it ends that at once; a gap in the facts, for everyone. While
auth-service is away, what it said up to five minutes ago still counts, unless a fact has told otherwise since.

Credentials are remembered as they were sent, too, so that to know who shows one again takes one look: for as long as whom they
stand for is, never beyond the end of a token or of its verification, and only while the keys of tokens are the same.
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
MOST_SHOWN = 20_000
LONGEST_SHOWN = 1024
_NEVER = datetime.min.replace(tzinfo=UTC)
_ALWAYS = datetime.max.replace(tzinfo=UTC)

Shown = tuple[bytes, bytes]
"""A header field, its name in lower case."""


@dataclass(slots=True, eq=False)
class _Known:
    """`fresh_until` is past once it was forgotten."""

    resolved: Resolved
    asked_at: datetime
    fresh_until: datetime

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
        self._shown: OrderedDict[Shown, tuple[_Known, datetime, int | None]] = OrderedDict()
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
        known = self._fresh(identity)
        return known.resolved if known is not None else None

    def recognise(self, shown: Shown, now: datetime) -> Resolved | None:
        """Whom a credential stands for that was shown like this before; None when it has to be looked at."""
        seen = self._shown.get(shown)
        if seen is None:
            return None
        known, until, edition = seen
        fresh = now < known.fresh_until and now < until and known.asked_at > self._expired_before
        if fresh and (edition is None or edition == self._tokens.edition):
            return known.resolved
        del self._shown[shown]
        return None

    def remember(self, shown: Shown, credential: ApiKey | BearerToken, identity: Identity) -> None:
        """For `recognise`: `shown` is where the credential, which is this one's, came from."""
        known = self._fresh(identity)
        if known is None or len(shown[1]) > LONGEST_SHOWN:
            return
        until, edition = _ALWAYS, None
        if isinstance(credential, BearerToken):
            until = datetime.fromtimestamp(self._tokens.verify(credential.text).good_until, UTC)
            edition = self._tokens.edition
        self._shown.pop(shown, None)
        self._shown[shown] = known, until, edition
        # no credential stays here long after it has ceased to count: the oldest ones end first
        for _ in range(2):
            oldest, (seen, *_) = next(iter(self._shown.items()))
            if len(self._shown) > MOST_SHOWN or (seen.fresh_until <= self._clock() and seen is not known):
                del self._shown[oldest]

    def _fresh(self, identity: Identity) -> _Known | None:
        known = self._known.get(identity)
        fresh = known is not None and known.asked_at > self._expired_before and self._clock() < known.fresh_until
        return known if fresh else None

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
            self._keep(identity, _Known(resolved, asked_at, min(asked_at + FRESH, resolved.expires_at or _ALWAYS)))
        return resolved

    def _keep(self, identity: Identity, known: _Known) -> None:
        self._known[identity] = known
        for concerned in _concerned(known.resolved.principal):
            self._concerning.setdefault(concerned, set()).add(identity)
        while len(self._known) > MOST_KNOWN:
            self._forget(next(iter(self._known)))

    def _forget(self, identity: Identity) -> None:
        known = self._known.pop(identity, None)
        if known is None:
            return
        known.fresh_until = _NEVER
        for concerned in _concerned(known.resolved.principal):
            identities = self._concerning[concerned]
            identities.discard(identity)
            if not identities:
                del self._concerning[concerned]


def _concerned(principal: Principal) -> tuple[Any, ...]:
    return tuple(one for one in (principal.user_id, principal.tenant_id, principal.key_id, principal.session_id) if one)
