"""Credentials and access tokens: one kind is accepted, every trick is refused with the same words."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.adapters.facts import follow_auth
from gateway.domain.callers import Callers
from gateway.domain.credentials import ApiKey, BearerToken, credential_of
from gateway.domain.errors import BadCredential
from gateway.domain.origins import Origins
from gateway.domain.ports import Identity, Resolved
from gateway.domain.tokens import SigningKeys, TokenVerifier
from shared.api_keys import digest, new_api_key
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import auth_subject
from shared.tasks import end_task
from tests.support.poll import until

KEY = new_api_key(os.urandom)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
USER, SESSION = str(new_id()), str(new_id())


class Auth:
    """auth-service with one signing key; counts how often it is asked for keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"k1": OURS.public_key()}
        self.asked = 0
        self.away = False

    async def resolve(self, _identities: Sequence[Identity]) -> Sequence[Resolved | None]:
        raise AssertionError("not asked by the verifier")

    async def signing_keys(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return dict(self.keys)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    whole = {
        "iss": "kalpi",
        "aud": "kalpi-api",
        "sub": USER,
        "sid": SESSION,
        "jti": "j",
        "iat": now,
        "exp": now + 900,
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def signed(
    payload: Mapping[str, Any], *, key: Any = OURS, algorithm: str = "EdDSA", headers: Mapping[str, Any] | None = None
) -> str:
    return jwt.encode(dict(payload), key, algorithm, headers={"typ": "at+jwt", "kid": "k1", **(headers or {})})


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def raw(header: Mapping[str, Any], payload: Mapping[str, Any], signature: bytes = b"") -> str:
    return ".".join([part(json.dumps(header).encode()), part(json.dumps(payload).encode()), part(signature)])


def sealed(payload: bytes | Mapping[str, Any], header: bytes = b'{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}') -> str:
    """Whatever it says, under the genuine key."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = f"{part(header)}.{part(text)}"
    return f"{signing_input}.{part(OURS.sign(signing_input.encode()))}"


def with_member(text: str) -> bytes:
    """The genuine claims and one more, which JSON's own writer would not write."""
    return json.dumps(claims()).encode()[:-1] + text.encode() + b"}"


PUBLIC = OURS.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
FORGED = {
    "alg none": raw({"alg": "none", "typ": "at+jwt", "kid": "k1"}, claims()),
    "alg None": raw({"alg": "None", "typ": "at+jwt", "kid": "k1"}, claims()),
    "HS256 with the public key": signed(claims(), key=PUBLIC, algorithm="HS256"),
    "another key": signed(claims(), key=THEIRS),
    "unknown kid": signed(claims(), headers={"kid": "k2"}),
    "kid as a path": signed(claims(), headers={"kid": "../../dev/null"}),
    "embedded jwk": signed(claims(), headers={"jwk": {"kty": "OKP"}}),
    "jku": signed(claims(), headers={"jku": "http://127.0.0.1/jwks.json"}),
    "x5u": signed(claims(), headers={"x5u": "http://127.0.0.1/x"}),
    "crit": signed(claims(), headers={"crit": ["exp"]}),
    "wrong typ": signed(claims(), headers={"typ": "JWT"}),
    "wrong iss": signed(claims(iss="other")),
    "wrong aud": signed(claims(aud="other")),
    "no exp": signed(claims(exp=None)),
    "no sid": signed(claims(sid=None)),
    "expired": signed(claims(exp=int(NOW.timestamp()))),
    "not yet": signed(claims(nbf=int(NOW.timestamp()) + 60)),
    "issued in the future": signed(claims(iat=int(NOW.timestamp()) + 60)),
    "a subject that is no id": signed(claims(sub="admin")),
    "an exp that is no number": signed(claims(exp="soon")),
    "infinite exp": sealed(claims(exp=float("inf"))),
    "an exp beyond any float": sealed(claims(exp=10**400)),
    "a number of more digits than Python reads": sealed(with_member(', "more": ' + "9" * 5000)),
    "an exp far away": sealed(claims(exp=int(NOW.timestamp()) + 86_400)),
    "an exp as text": sealed(claims(exp=str(int(NOW.timestamp()) + 900))),
    "an exp with a fraction": sealed(claims(exp=NOW.timestamp() + 900)),
    "a true exp": sealed(claims(exp=True)),
    "an exp before it was issued": sealed(claims(iat=int(NOW.timestamp()) - 100, exp=int(NOW.timestamp()) - 50)),
    "a list of audiences": sealed(claims(aud=["kalpi-api"])),
    "a list of issuers": sealed(claims(iss=["kalpi"])),
    "a subject that is a number": sealed(claims(sub=7)),
    "a session that is a list": sealed(claims(sid=[SESSION])),
    "a subject in capitals": sealed(claims(sub=USER.upper())),
    "a subject in braces": sealed(claims(sub=f"{{{USER}}}")),
    "a subject in other digits": sealed(claims(sub=USER.translate({ord("0") + n: ord("０") + n for n in range(10)}))),
    "a jti that is a number": sealed(claims(jti=7)),
    "a member twice": sealed(with_member(f', "sub": "{new_id()}"')),
    "a header member twice": sealed(claims(), b'{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"k1"}'),
    "a deep header": sealed(claims(), b"[" * 3000),
    "a deep payload": sealed(b"[" * 3000),
    "a payload that is no object": sealed(b"[]"),
    "a payload in UTF-16": sealed(json.dumps(claims()).encode("utf-16")),
    "a payload that is no text": sealed(b"\xff\xfe"),
    "half a surrogate": sealed(claims(sub="\ud800")),
    "a key of a list": sealed(claims(), b'{"alg":"EdDSA","typ":"at+jwt","kid":["k1"]}'),
    "padding": sealed(claims()) + "==",
    "a signature with a space": sealed(claims())[:-4] + " " + sealed(claims())[-4:],
    "a signature with what base64url has not": sealed(claims())[:-4] + "!" + sealed(claims())[-4:],
    "four parts": sealed(claims()) + ".",
    "changed payload": ".".join(
        [signed(claims()).split(".")[0], raw({}, claims(sub=str(new_id()))).split(".")[1], signed(claims()).split(".")[2]]
    ),
    "no signature": signed(claims()).rpartition(".")[0] + ".",
    "two parts": signed(claims()).rpartition(".")[0],
    "nonsense": "nonsense",
    "not ASCII": "é.é.é",
}


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(auth: Auth) -> SigningKeys:
    keys = SigningKeys(auth)
    await keys.refresh()
    return keys


@pytest.fixture
def verifier(keys: SigningKeys, clock: Clock) -> TokenVerifier:
    return TokenVerifier(keys, clock)


async def test_a_token_of_auth_service_names_its_user_and_session(verifier: TokenVerifier) -> None:
    token = verifier.verify(signed(claims()))
    assert (token.user_id, token.session_id) == (USER, SESSION)


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused_with_the_same_words(verifier: TokenVerifier, name: str) -> None:
    with pytest.raises(BadCredential) as refused:
        verifier.verify(FORGED[name])
    assert refused.value.detail == BadCredential().detail


async def test_a_remembered_token_ends_when_it_says(verifier: TokenVerifier, clock: Clock) -> None:
    text = signed(claims(exp=int(NOW.timestamp()) + 20))
    verifier.verify(text)
    clock.now += timedelta(seconds=20)
    with pytest.raises(BadCredential):
        verifier.verify(text)


def test_every_spelling_of_a_signature_but_one_is_refused(verifier: TokenVerifier) -> None:
    """86 characters hold 516 bits, of which the last four say nothing."""
    text = sealed(claims())
    verifier.verify(text)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [text[:-1] + letter for letter in alphabet if letter != text[-1]]
    for other in others:
        with pytest.raises(BadCredential):
            verifier.verify(other)


async def test_a_remembered_token_ends_with_its_key(verifier: TokenVerifier, auth: Auth, keys: SigningKeys) -> None:
    verifier.verify(signed(claims()))
    auth.keys = {"k2": THEIRS.public_key()}
    await keys.refresh()
    verifier.verify(signed(claims(), key=THEIRS, headers={"kid": "k2"}))
    with pytest.raises(BadCredential):
        verifier.verify(signed(claims()))


async def test_the_keys_stay_in_force_while_auth_service_is_away(verifier: TokenVerifier, auth: Auth, keys: SigningKeys) -> None:
    auth.away = True
    await keys.refresh()
    verifier.verify(signed(claims()))
    auth.away = False
    auth.keys = {}
    await keys.refresh()
    with pytest.raises(BadCredential):
        verifier.verify(signed(claims()))


async def test_without_any_key_nobody_can_say(auth: Auth, clock: Clock) -> None:
    auth.away = True
    keys = SigningKeys(auth)
    verifier = TokenVerifier(keys, clock)
    await keys.refresh()
    with pytest.raises(Unavailable):
        verifier.verify(signed(claims()))
    auth.away = False
    await keys.refresh()
    verifier.verify(signed(claims()))


# ----- the look at auth-service, in the background


@asynccontextmanager
async def looking(keys: SigningKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    yield
    assert not task.done()
    await end_task(task)


async def test_the_keys_are_looked_at_again_though_nobody_asks(auth: Auth) -> None:
    keys = SigningKeys(auth, max_age_s=0.02, apart_s=0.01)

    async def thrice() -> bool:
        return auth.asked >= 3

    async with looking(keys):
        await until(thrice, what="three looks")


async def test_unknown_kids_do_not_keep_auth_service_busy_and_none_waits(auth: Auth, clock: Clock) -> None:
    """However many there are, they are answered without a look, and the one that follows is for all of them."""
    keys = SigningKeys(auth, max_age_s=3600, apart_s=0.01)
    await keys.refresh()
    verifier = TokenVerifier(keys, clock)

    async def looked_again() -> bool:
        return auth.asked == 2

    async with looking(keys):
        for number in range(200):
            with pytest.raises(BadCredential):
                verifier.verify(signed(claims(), headers={"kid": f"unknown-{number}"}))
        assert auth.asked == 1
        await until(looked_again, what="one look")
        for _ in range(20):
            await asyncio.sleep(0)
        assert auth.asked == 2


async def test_a_key_that_signs_unannounced_is_accepted_after_the_next_look(auth: Auth, clock: Clock) -> None:
    """And forgers, who show unknown kids all the time, do not put that off."""
    keys = SigningKeys(auth, max_age_s=3600, apart_s=0.01)
    await keys.refresh()
    verifier = TokenVerifier(keys, clock)
    fresh = signed(claims(), key=THEIRS, headers={"kid": "k3"})

    async def accepted() -> bool:
        with pytest.raises(BadCredential):
            verifier.verify(signed(claims(), headers={"kid": "forged"}))
        with suppress(BadCredential):
            return bool(verifier.verify(fresh))
        return False

    async with looking(keys):
        assert not await accepted()
        auth.keys["k3"] = THEIRS.public_key()
        await until(accepted, every_s=0.001, what="the new key")


class NoOrigins:
    async def origins(self) -> list[str]:
        return []


async def test_the_fact_of_a_rotation_makes_it_look_and_evicts_nobody(auth: Auth, clock: Clock, bus: EventBus) -> None:
    keys = SigningKeys(auth, max_age_s=3600, apart_s=0.01)
    callers = Callers(auth, TokenVerifier(keys, clock), clock)
    following = follow_auth(bus, callers, keys, Origins(NoOrigins()))

    async def looked() -> bool:
        return auth.asked > before and following.current

    async with looking(keys):
        before = auth.asked
        await until(looked, what="a look after the facts were found")
        before, evictions = auth.asked, callers._evictions
        await bus.publish(auth_subject("signing-key", "rotated"), {})
        await until(looked, what="a look after the fact")
    assert callers._evictions == evictions


async def test_guesses_at_a_password_evict_nobody(auth: Auth, clock: Clock, bus: EventBus) -> None:
    """Strangers make them. What follows in the stream is known to have been read when a fact behind it has done its work."""
    callers = Callers(auth, TokenVerifier(SigningKeys(auth), clock), clock)
    following = follow_auth(bus, callers, SigningKeys(auth), Origins(NoOrigins()))

    async def follows() -> bool:
        return following.current

    async def evicted() -> bool:
        return callers._evictions > evictions

    await until(follows, what="that the facts are followed")
    evictions = callers._evictions
    for event in ("blocked", "unlocked"):
        await bus.publish(auth_subject("guess", event), {"user_id": USER})
    await bus.publish(auth_subject("user", "password_reset"), {"user_id": USER})
    await until(evicted, what="that the last fact is heard")
    assert callers._evictions == evictions + 1


async def test_a_failed_look_is_tried_again_soon(auth: Auth) -> None:
    auth.away = True
    keys = SigningKeys(auth, max_age_s=3600, apart_s=0.001)
    await keys.refresh()

    async def known() -> bool:
        with suppress(Unavailable):
            return keys.get("k1") is not None
        return False

    async with looking(keys):
        assert not await known()
        auth.away = False
        await until(known, what="the keys")


def test_a_credential_is_a_key_or_a_token_in_one_header() -> None:
    assert credential_of([KEY.encode()], []) == ApiKey(digest(KEY))
    assert credential_of([], [b"Bearer " + KEY.encode()]) == ApiKey(digest(KEY))
    assert credential_of([], [b"bearer  a.b.c"]) == BearerToken("a.b.c")


@pytest.mark.parametrize(
    ("keys", "authorization"),
    [
        ([], []),
        ([b""], []),
        ([KEY.encode(), KEY.encode()], []),
        ([KEY.encode()], [b"Bearer a.b.c"]),
        ([], [b"Bearer a.b.c", b"Bearer a.b.c"]),
        ([], [b"Basic YTpi"]),
        ([], [b"Bearer"]),
        ([], [b"Bearer " + b"x" * 5000]),
        ([], [KEY.encode()]),
        ([], [b"Bearer " + KEY.encode() + b"\xa0"]),
        ([KEY[:-1].encode() + b"!"], []),
        ([b"\xff\xfe"], []),
    ],
)
def test_anything_else_is_refused(keys: list[bytes], authorization: list[bytes]) -> None:
    with pytest.raises(BadCredential):
        credential_of(keys, authorization)
