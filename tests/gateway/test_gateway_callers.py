"""What a gateway remembers of callers: for how long, and what ends it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from gateway.domain import callers as callers_module
from gateway.domain.callers import Callers
from gateway.domain.credentials import ApiKey, BearerToken
from gateway.domain.errors import BadCredential
from gateway.domain.ports import Identity, Resolved
from gateway.domain.tokens import SigningKeys, TokenVerifier, VerifiedToken
from shared.errors import Unavailable
from shared.principal import Principal

START = datetime(2026, 3, 1, tzinfo=UTC)
KEY = ApiKey("0" * 64)
ANN = Principal(kind="user", user_id="ann", tenant_id="t", tier="pro", key_id="key-1")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Auth:
    """Answers `resolved`, but for `others`; while `held`, only once it is let go."""

    def __init__(self) -> None:
        self.resolved: Resolved | None = Resolved(ANN, None)
        self.batches: list[Sequence[Identity]] = []
        self.others: dict[Identity, Resolved | None] = {}
        self.being_asked = asyncio.Event()
        self.away = False
        self.held: asyncio.Event | None = None

    @property
    def asked(self) -> int:
        return len(self.batches)

    async def resolve(self, identities: Sequence[Identity]) -> Sequence[Resolved | None]:
        self.batches.append(list(identities))
        self.being_asked.set()
        answers, away = [self.others.get(identity, self.resolved) for identity in identities], self.away
        if self.held is not None:
            await self.held.wait()
        if away:
            raise Unavailable("away")
        return answers

    async def signing_keys(self) -> Mapping[str, Any]:
        return {}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
def callers(auth: Auth, clock: Clock) -> Callers:
    return Callers(auth, TokenVerifier(SigningKeys(auth), clock), clock)


async def ask(callers: Callers) -> Principal:
    identity = callers.identify(ApiKey("0" * 64))
    return (callers.known(identity) or await callers.resolve(identity)).principal


async def test_what_was_resolved_is_used_for_ten_seconds(callers: Callers, auth: Auth, clock: Clock) -> None:
    assert await ask(callers) == ANN
    clock.pass_(9.9)
    await ask(callers)
    assert auth.asked == 1
    clock.pass_(0.1)
    await ask(callers)
    assert auth.asked == 2


async def test_a_key_that_expires_is_not_used_beyond_its_end(callers: Callers, auth: Auth, clock: Clock) -> None:
    auth.resolved = Resolved(ANN, START + timedelta(seconds=5))
    await ask(callers)
    clock.pass_(5)
    auth.away = True
    with pytest.raises(Unavailable):
        await ask(callers)


SHOWN = (b"x-api-key", b"the key")


async def show(callers: Callers, credential: ApiKey | BearerToken = KEY, shown: tuple[bytes, bytes] = SHOWN) -> None:
    identity = callers.identify(credential)
    if callers.known(identity) is None:
        await callers.resolve(identity)
    callers.remember(shown, credential, identity)


async def test_a_credential_is_recognised_for_as_long_as_its_owner_is_known(callers: Callers, clock: Clock) -> None:
    assert callers.recognise(SHOWN, clock()) is None
    await show(callers)
    clock.pass_(9.9)
    assert callers.recognise(SHOWN, clock()) == Resolved(ANN, None)
    assert callers.recognise((b"authorization", b"the key"), clock()) is None
    clock.pass_(0.1)
    assert callers.recognise(SHOWN, clock()) is None


async def test_a_credential_is_recognised_no_longer_because_it_is_shown_later(callers: Callers, clock: Clock) -> None:
    await show(callers)
    clock.pass_(9)
    await show(callers)
    clock.pass_(1)
    assert callers.recognise(SHOWN, clock()) is None


@pytest.mark.parametrize("concerned", ["ann", "key-1", "t"])
async def test_a_revoked_credential_is_not_recognised(callers: Callers, clock: Clock, concerned: str) -> None:
    await show(callers)
    callers.evict("somebody else")
    assert callers.recognise(SHOWN, clock()) is not None
    callers.evict(concerned)
    assert not callers._shown
    assert callers.recognise(SHOWN, clock()) is None


async def test_after_a_gap_no_credential_is_recognised(callers: Callers, clock: Clock) -> None:
    await show(callers)
    callers.expire()
    assert callers.recognise(SHOWN, clock()) is None


async def test_a_credential_that_ends_is_not_recognised_beyond_its_end(callers: Callers, auth: Auth, clock: Clock) -> None:
    auth.resolved = Resolved(ANN, START + timedelta(seconds=5))
    await show(callers)
    clock.pass_(4.9)
    assert callers.recognise(SHOWN, clock()) is not None
    clock.pass_(0.1)
    assert callers.recognise(SHOWN, clock()) is None


async def test_what_counts_only_while_auth_service_is_away_is_not_recognised(callers: Callers, auth: Auth, clock: Clock) -> None:
    await show(callers)
    auth.away = True
    clock.pass_(60)
    await show(callers)
    assert callers.recognise(SHOWN, clock()) is None


async def test_so_many_credentials_are_remembered_and_no_longer_than_they_count(
    callers: Callers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "MOST_SHOWN", 10)
    for number in range(25):
        await show(callers, shown=(b"x-api-key", b"%d" % number))
    recognised = [number for number in range(25) if callers.recognise((b"x-api-key", b"%d" % number), clock())]
    assert recognised == list(range(15, 25)), "the newest"
    await show(callers, shown=(b"x-api-key", b"9" * 2000))
    assert callers.recognise((b"x-api-key", b"9" * 2000), clock()) is None, "too long"
    (known,) = callers._known.values()
    assert known.shown == set(callers._shown)
    assert len(known.shown) == 10
    clock.pass_(10)
    await callers.renew()
    assert not callers._shown, "they have ceased to count"


class Tokens:
    """Verifies one token, for half a minute."""

    def __init__(self, clock: Clock) -> None:
        self.edition = 1
        self._clock = clock

    def verify(self, _text: str) -> VerifiedToken:
        now = self._clock().timestamp()
        return VerifiedToken("ann", "session-1", now + 900, now + 5)


async def test_a_token_is_recognised_while_it_need_not_be_verified_again(auth: Auth, clock: Clock) -> None:
    tokens = Tokens(clock)
    callers = Callers(auth, cast("TokenVerifier", tokens), clock)
    shown = (b"authorization", b"Bearer a.b.c")
    await show(callers, BearerToken("a.b.c"), shown)
    clock.pass_(4.9)
    assert callers.recognise(shown, clock()) is not None
    clock.pass_(0.1)
    assert callers.recognise(shown, clock()) is None
    await show(callers, BearerToken("a.b.c"), shown)
    tokens.edition += 1
    assert callers.recognise(shown, clock()) is None, "the keys are others"


async def test_without_auth_service_what_it_said_counts_for_five_minutes(callers: Callers, auth: Auth, clock: Clock) -> None:
    await ask(callers)
    auth.away = True
    clock.pass_(299)
    assert await ask(callers) == ANN
    clock.pass_(1)
    with pytest.raises(Unavailable):
        await ask(callers)


@pytest.mark.parametrize("concerned", ["ann", "key-1", "t"])
async def test_a_revocation_counts_at_once_even_without_auth_service(callers: Callers, auth: Auth, concerned: str) -> None:
    await ask(callers)
    auth.away = True
    callers.evict(concerned)
    with pytest.raises(Unavailable):
        await ask(callers)


async def test_a_revocation_of_somebody_else_changes_nothing(callers: Callers, auth: Auth) -> None:
    await ask(callers)
    callers.evict("bob")
    await ask(callers)
    assert auth.asked == 1


async def test_an_answer_that_a_revocation_overtook_is_not_remembered(callers: Callers, auth: Auth) -> None:
    auth.held = asyncio.Event()
    asking = asyncio.create_task(ask(callers))
    await auth.being_asked.wait()
    callers.evict("ann")
    auth.resolved = None
    auth.held.set()
    assert await asking == ANN, "it was asked before the revocation"
    with pytest.raises(BadCredential):
        await ask(callers)


async def test_who_asks_after_a_revocation_is_not_answered_with_what_was_asked_before(callers: Callers, auth: Auth) -> None:
    auth.held = asyncio.Event()
    before = asyncio.create_task(ask(callers))
    await auth.being_asked.wait()
    auth.resolved = None
    callers.evict("ann")
    after = asyncio.create_task(ask(callers))
    auth.held.set()
    assert await before == ANN
    with pytest.raises(BadCredential):
        await after
    assert auth.asked == 2


async def test_a_gap_in_the_facts_makes_everyone_be_asked_for_again(callers: Callers, auth: Auth, clock: Clock) -> None:
    await ask(callers)
    clock.pass_(1)
    callers.expire()
    await ask(callers)
    assert auth.asked == 2
    clock.pass_(1)
    callers.expire()
    auth.away = True
    assert await ask(callers) == ANN, "auth-service is away, and no fact has told otherwise"


async def test_who_was_revoked_is_nobody(callers: Callers, auth: Auth, clock: Clock) -> None:
    await ask(callers)
    auth.resolved = None
    clock.pass_(10)
    with pytest.raises(BadCredential):
        await ask(callers)
    auth.away = True
    with pytest.raises(Unavailable):
        await ask(callers)


async def test_many_askers_share_one_question_and_none_takes_the_answer_from_the_others(callers: Callers, auth: Auth) -> None:
    auth.held = asyncio.Event()
    asking = [asyncio.create_task(ask(callers)) for _ in range(50)]
    await auth.being_asked.wait()
    asking[0].cancel()
    auth.held.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [ANN] * 49
    assert auth.asked == 1
