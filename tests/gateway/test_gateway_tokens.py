"""Credentials and access tokens: one kind is accepted, every trick is refused with the same words."""

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.credentials import ApiKey, BearerToken, credential_of
from gateway.domain.errors import BadCredential
from gateway.domain.ports import Identity, Resolved
from gateway.domain.tokens import SigningKeys, TokenVerifier
from shared.api_keys import digest, new_api_key
from shared.errors import Unavailable
from shared.ids import new_id

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

    async def resolve(self, _identity: Identity) -> Resolved | None:
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


def raw(header: Mapping[str, Any], payload: Mapping[str, Any], signature: bytes = b"") -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    return ".".join([part(json.dumps(header).encode()), part(json.dumps(payload).encode()), part(signature)])


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
    "infinite exp": raw({"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}, {**claims(), "exp": float("inf")}),
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
def verifier(auth: Auth, clock: Clock) -> TokenVerifier:
    return TokenVerifier(SigningKeys(auth, clock), clock)


async def test_a_token_of_auth_service_names_its_user_and_session(verifier: TokenVerifier) -> None:
    token = await verifier.verify(signed(claims()))
    assert (token.user_id, token.session_id) == (USER, SESSION)


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused_with_the_same_words(verifier: TokenVerifier, name: str) -> None:
    with pytest.raises(BadCredential) as refused:
        await verifier.verify(FORGED[name])
    assert refused.value.detail == BadCredential().detail


async def test_a_remembered_token_ends_when_it_says(verifier: TokenVerifier, clock: Clock) -> None:
    text = signed(claims(exp=int(NOW.timestamp()) + 20))
    await verifier.verify(text)
    clock.now += timedelta(seconds=20)
    with pytest.raises(BadCredential):
        await verifier.verify(text)


async def test_a_remembered_token_is_verified_again_after_its_key_was_withdrawn(
    verifier: TokenVerifier, auth: Auth, clock: Clock
) -> None:
    await verifier.verify(signed(claims()))
    auth.keys = {"k2": THEIRS.public_key()}
    clock.now += timedelta(seconds=31)
    await verifier.verify(signed(claims(), key=THEIRS, headers={"kid": "k2"}))
    with pytest.raises(BadCredential):
        await verifier.verify(signed(claims()))


async def test_unknown_kids_do_not_keep_auth_service_busy(verifier: TokenVerifier, auth: Auth, clock: Clock) -> None:
    for number in range(50):
        with pytest.raises(BadCredential):
            await verifier.verify(signed(claims(), headers={"kid": f"unknown-{number}"}))
    assert auth.asked == 1
    auth.keys["k3"] = THEIRS.public_key()
    clock.now += timedelta(seconds=30)
    await verifier.verify(signed(claims(), key=THEIRS, headers={"kid": "k3"}))
    assert auth.asked == 2


async def test_without_any_key_nobody_can_say(verifier: TokenVerifier, auth: Auth, clock: Clock) -> None:
    auth.away = True
    with pytest.raises(Unavailable):
        await verifier.verify(signed(claims()))
    auth.away = False
    clock.now += timedelta(seconds=1)
    await verifier.verify(signed(claims()))


async def test_a_failed_look_at_the_keys_answers_all_who_waited_for_it(verifier: TokenVerifier, auth: Auth) -> None:
    auth.away = True
    waiting = [verifier.verify(signed(claims(), headers={"kid": f"new-{number}"})) for number in range(20)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert auth.asked == 1


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
        ([KEY[:-1].encode() + b"!"], []),
        ([b"\xff\xfe"], []),
    ],
)
def test_anything_else_is_refused(keys: list[bytes], authorization: list[bytes]) -> None:
    with pytest.raises(BadCredential):
        credential_of(keys, authorization)
