"""Access tokens, verified here (RFC 9068, RFC 8725): one algorithm, one type, keys by `kid`, and not a header parameter more.

A token has one spelling: what decodes to the same bytes, or names a member twice, is another text and no token. An Ed25519
verification takes about 200 µs, so a token that passed is remembered for up to 30 seconds, never beyond its own end, and only
while the keys are the same.
"""

import asyncio
import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

import jwt

from gateway.domain.errors import BadCredential
from gateway.domain.ports import AuthService
from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER, LIFETIME_S, TYPE
from shared.clock import Clock
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["SigningKeys", "TokenVerifier", "VerifiedToken"]

REMEMBERED_S = 30.0
MOST_REMEMBERED = 10_000
MAX_AGE_S = 30.0
APART_S = 1.0
FIRST_S = 0.1
"""Between looks while no key is known at all, when auth-service starts together with the gateway."""

_CLOCK_SKEW_S = 5.0
_HEADER = {"alg", "typ", "kid"}
_CLAIMS = ["iss", "aud", "sub", "sid", "jti", "iat", "exp"]
_log = get_logger("tokens")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """`expires_at` and `good_until`, how long it need not be verified again, in Unix seconds."""

    user_id: str
    session_id: str
    expires_at: float
    good_until: float


class SigningKeys:
    """auth-service's public keys. The newest set that is known is in force and nothing else; it stays while auth-service is away.

    `run` looks at them again before they are 30 s old, and a second after somebody has shown a kid that is not among them. No
    request waits for that, and whatever forgers show, it is one look a second. A genuine new key is published a minute before it
    signs, so it is known by then; one that signs at once is known within two seconds of being shown.
    """

    def __init__(self, auth: AuthService, *, max_age_s: float = MAX_AGE_S, apart_s: float = APART_S) -> None:
        self._auth = auth
        self._max_age_s = max_age_s
        self._apart_s = apart_s
        self._keys: Mapping[str, Any] | None = None
        self._failed = False
        self._wanted = asyncio.Event()
        self.edition = 0
        """Grows with every change of the set."""

    def get(self, kid: str) -> Any:
        """None for a kid that is not in force; Unavailable before there was any set."""
        if self._keys is None:
            raise Unavailable("the signing keys are not known yet")
        key = self._keys.get(kid)
        if key is None:
            self.look()
        return key

    def look(self) -> None:
        """Soon, and not now: what has told us of a change has yet to reach auth-service's other processes."""
        self._wanted.set()

    async def refresh(self) -> None:
        try:
            keys = await self._auth.signing_keys()
        except Unavailable as error:
            if not self._failed:
                _log.warning("signing keys not fetched", why=error.detail)
            self._failed = True
            return
        self._failed = False
        if keys != self._keys:
            self._keys = keys
            self.edition += 1
            _log.info("signing keys", kids=sorted(keys))

    async def run(self) -> None:
        """After the first `refresh`, for as long as the gateway runs."""
        while True:
            if not self._failed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._max_age_s - self._apart_s):
                        await self._wanted.wait()
            await asyncio.sleep(min(FIRST_S, self._apart_s) if self._keys is None else self._apart_s)
            self._wanted.clear()
            await self.refresh()


class TokenVerifier:
    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[VerifiedToken, int]] = OrderedDict()

    @property
    def edition(self) -> int:
        """Of the keys: what was verified with others is verified again."""
        return self._keys.edition

    def verify(self, text: str) -> VerifiedToken:
        """BadCredential, always with the same words; Unavailable when no key is known to verify it with."""
        digest = hashlib.blake2b(text.encode("latin-1"), digest_size=16).digest()
        now = self._clock().timestamp()
        remembered = self._remembered.get(digest)
        if remembered is not None and now < remembered[0].good_until and remembered[1] == self._keys.edition:
            return remembered[0]
        token = self._verified(text, now)
        self._remembered[digest] = (token, self._keys.edition)
        self._remembered.move_to_end(digest)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return token

    def _verified(self, text: str, now: float) -> VerifiedToken:
        try:
            header, payload, _signature = _parts(text)
            key = self._keys.get(_kid_of(_members(header)))
            if key is None:
                raise BadCredential
            claims = _members(payload)
            # the times are compared below, with the clock that was handed in
            jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": _CLAIMS, "strict_aud": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            return _token_of(claims, now)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise BadCredential from None


def _parts(text: str) -> Sequence[bytes]:
    parts = text.split(".")
    if len(parts) != 3:
        raise BadCredential
    return [_decoded(part) for part in parts]


def _decoded(part: str) -> bytes:
    """RFC 7515, section 2: base64url without padding, line breaks, white space or other characters, which Python passes over."""
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=") != part:
        raise BadCredential
    return raw


def _members(raw: bytes) -> dict[str, Any]:
    members = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(members, dict):
        raise BadCredential
    return members


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7515, section 4, and RFC 7519, section 4: names are unique, or else who reads it next may see another value."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadCredential
    return members


def _no_constant(_name: str) -> NoReturn:
    """NaN and infinities, which JSON does not have."""
    raise BadCredential


def _kid_of(header: Mapping[str, Any]) -> str:
    if set(header) != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE or not isinstance(header["kid"], str):
        raise BadCredential
    kid: str = header["kid"]
    return kid


def _token_of(claims: Mapping[str, Any], now: float) -> VerifiedToken:
    expires_at, issued_at, not_before = (_moment(claims.get(name, 0)) for name in ("exp", "iat", "nbf"))
    if not now < expires_at <= issued_at + LIFETIME_S or max(issued_at, not_before) > now + _CLOCK_SKEW_S:
        raise BadCredential
    return VerifiedToken(_id(claims["sub"]), _id(claims["sid"]), float(expires_at), min(now + REMEMBERED_S, expires_at))


def _moment(value: Any) -> int:
    """Whole seconds, as auth-service writes them."""
    if type(value) is not int:
        raise BadCredential
    return value


def _id(value: Any) -> str:
    """In the one spelling that is stored: Python takes braces, capitals and the digits of other scripts as well."""
    if not isinstance(value, str) or str(UUID(value)) != value:
        raise BadCredential
    return value
