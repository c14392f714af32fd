"""Who is asking: a credential becomes a principal, as auth-service resolves it.

What was resolved is used for 10 seconds. A fact that concerns it ends that at once; a gap in the facts, for everyone. While
auth-service is away, what it said up to five minutes ago still counts, unless a fact has told otherwise since.

Whoever is used is asked for again before the 10 seconds are over, many in one question, so that nobody waits for it
(docs/adr/0028). Such an answer counts only for who is still known as when it was asked for.

Credentials are remembered as they were sent, too, so that to know who shows one again takes one look: for as long as whom they
stand for is, never beyond the end of a token or of its verification, and only while the keys of tokens are the same. They go when
whom they stand for is forgotten, or has not been used for so long.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.domain.credentials import ApiKey, BearerToken
from gateway.domain.errors import BadCredential
from gateway.domain.lookups import MOST_AT_ONCE, Lookups
from gateway.domain.ports import AuthService, Identity, Resolved
from gateway.domain.tokens import TokenVerifier
from shared.clock import Clock
from shared.errors import Unavailable
from shared.principal import Principal

__all__ = ["Callers", "Shown"]

FRESH = timedelta(seconds=10)
RENEWED_AT = timedelta(seconds=7)
LOOK_S = 0.5
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
    """`fresh_until` is past once it was forgotten; `used` is since it was last asked for; `shown` are credentials for it."""

    identity: Identity
    resolved: Resolved
    asked_at: datetime
    fresh_until: datetime = _NEVER
    used: bool = False
    shown: set[Shown] = field(default_factory=set, repr=False)

    def counts_at(self, now: datetime, age: timedelta) -> bool:
        expires_at = self.resolved.expires_at
        return now - self.asked_at < age and (expires_at is None or now < expires_at)


class Callers:
    def __init__(self, auth: AuthService, tokens: TokenVerifier, clock: Clock) -> None:
        self._auth = auth
        self._lookups = Lookups(auth)
        self._tokens = tokens
        self._clock = clock
        self._known: OrderedDict[Identity, _Known] = OrderedDict()
        self._concerning: dict[str, set[Identity]] = {}
        self._ageing: deque[_Known] = deque(maxlen=MOST_KNOWN)
        self._ending: deque[_Known] = deque(maxlen=MOST_KNOWN)
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
        if known is None:
            return None
        known.used = True
        return known.resolved

    def recognise(self, shown: Shown, now: datetime) -> Resolved | None:
        """Whom a credential stands for that was shown like this before; None when it has to be looked at."""
        seen = self._shown.get(shown)
        if seen is None:
            return None
        known, until, edition = seen
        fresh = now < known.fresh_until and now < until and known.asked_at > self._expired_before
        if fresh and (edition is None or edition == self._tokens.edition):
            known.used = True
            return known.resolved
        self._unsee(shown)
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
        self._unsee(shown)
        self._shown[shown] = known, until, edition
        known.shown.add(shown)
        if len(self._shown) > MOST_SHOWN:
            self._unsee(next(iter(self._shown)))

    def _unsee(self, shown: Shown) -> None:
        seen = self._shown.pop(shown, None)
        if seen is not None:
            seen[0].shown.discard(shown)

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

    async def keep_fresh(self) -> None:
        """For as long as it runs, nobody who is used is waited for."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.renew()

    async def renew(self) -> None:
        """Asks again for those whose time is nearly over, and who were used in it."""
        now = self._clock()
        while due := self._due(now):
            evictions, asked_at = self._evictions, self._clock()
            try:
                answers = await self._auth.resolve([known.identity for known in due])
            except Unavailable:
                self._ageing.extendleft(reversed(due))  # once more in the next look, while they count
                return
            for known, resolved in zip(due, answers, strict=True):
                # one that a fact has ended meanwhile stays ended
                if self._known.get(known.identity) is known:
                    self._renewed(known, resolved, asked_at, is_newest=evictions == self._evictions)

    def _due(self, now: datetime) -> list[_Known]:
        """At most so many as one question may be about; the others end with their time, and their credentials with them."""
        due: list[_Known] = []
        ageing, until = self._ageing, now - RENEWED_AT
        while ageing and len(due) < MOST_AT_ONCE and ageing[0].asked_at <= until:
            known = ageing.popleft()
            if known.used and now < known.fresh_until and known.asked_at > self._expired_before:
                due.append(known)
            else:
                self._ending.append(known)
        while self._ending and self._ending[0].asked_at <= now - FRESH:
            self._hide(self._ending.popleft())
        return due

    def _renewed(self, known: _Known, resolved: Resolved | None, asked_at: datetime, *, is_newest: bool) -> None:
        # an eviction meanwhile, which would have been about this one as it was known, may be about it as it is now
        if resolved is None or not (is_newest or _concerned(resolved.principal) == _concerned(known.resolved.principal)):
            self._forget(known.identity)
            return
        self._unlist(known)
        known.resolved, known.asked_at, known.used = resolved, asked_at, False
        self._keep(known)

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
            resolved = await self._lookups.resolve(identity)
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
            self._keep(_Known(identity, resolved, asked_at))
        return resolved

    def _keep(self, known: _Known) -> None:
        known.fresh_until = min(known.asked_at + FRESH, known.resolved.expires_at or _ALWAYS)
        self._known[known.identity] = known
        self._known.move_to_end(known.identity)
        self._ageing.append(known)
        for concerned in _concerned(known.resolved.principal):
            self._concerning.setdefault(concerned, set()).add(known.identity)
        while len(self._known) > MOST_KNOWN:
            self._forget(next(iter(self._known)))

    def _forget(self, identity: Identity) -> None:
        known = self._known.pop(identity, None)
        if known is None:
            return
        known.fresh_until = _NEVER
        self._hide(known)
        self._unlist(known)

    def _hide(self, known: _Known) -> None:
        for shown in tuple(known.shown):
            self._unsee(shown)

    def _unlist(self, known: _Known) -> None:
        for concerned in _concerned(known.resolved.principal):
            identities = self._concerning[concerned]
            identities.discard(known.identity)
            if not identities:
                del self._concerning[concerned]


def _concerned(principal: Principal) -> tuple[Any, ...]:
    return tuple(one for one in (principal.user_id, principal.tenant_id, principal.key_id, principal.session_id) if one)
