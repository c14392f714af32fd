"""Access tokens, verified here (RFC 9068, RFC 8725): one algorithm, one type, keys by `kid`, and not a header parameter more.

An Ed25519 verification takes about 200 µs, so a token that passed is remembered for up to 30 seconds, never beyond its own end.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from gateway.domain.errors import BadCredential
from gateway.domain.ports import AuthService
from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER, TYPE
from shared.clock import Clock
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["SigningKeys", "TokenVerifier", "VerifiedToken"]

REMEMBERED_S = 30.0
MOST_REMEMBERED = 10_000
REFETCH_AFTER_S = 30.0
RETRY_AFTER_S = 1.0
_CLOCK_SKEW_S = 5.0
_HEADER = {"alg", "typ", "kid"}
_CLAIMS = ["iss", "aud", "sub", "sid", "jti", "iat", "exp"]
_log = get_logger("tokens")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """`expires_at` in Unix seconds."""

    user_id: str
    session_id: str
    expires_at: float


class SigningKeys:
    """auth-service's public keys. An unknown kid makes it look again, but once in thirty seconds: forgers do not keep it busy."""

    def __init__(self, auth: AuthService, clock: Clock) -> None:
        self._auth = auth
        self._clock = clock
        self._keys: Mapping[str, Any] = {}
        self._fetched_at = self._failed_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def prefetch(self) -> None:
        """At start; without auth-service the first token makes it look again."""
        try:
            self._keys = await self._auth.signing_keys()
        except Unavailable as error:
            _log.info("signing keys not fetched yet", why=error.detail)

    async def get(self, kid: str) -> Any:
        """None for a kid that auth-service does not have; Unavailable when it cannot be asked about an unknown one."""
        if kid not in self._keys:
            async with self._fetching:
                if kid not in self._keys and self._clock().timestamp() - self._fetched_at >= REFETCH_AFTER_S:
                    await self._fetch()
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        # whoever waited while it failed must not wait for it to fail again
        if self._clock().timestamp() - self._failed_at < RETRY_AFTER_S:
            raise Unavailable("the signing keys are not known yet")
        try:
            self._keys = await self._auth.signing_keys()
        except Unavailable:
            self._failed_at = self._clock().timestamp()
            raise
        self._fetched_at = self._clock().timestamp()


class TokenVerifier:
    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[VerifiedToken, float]] = OrderedDict()

    async def verify(self, text: str) -> VerifiedToken:
        """BadCredential, always with the same words; Unavailable when no key is known to verify it with."""
        digest = hashlib.blake2b(text.encode("latin-1"), digest_size=16).digest()
        now = self._clock().timestamp()
        remembered = self._remembered.get(digest)
        if remembered is not None and now < remembered[1]:
            return remembered[0]
        token = await self._verified(text, now)
        self._remembered[digest] = (token, min(now + REMEMBERED_S, token.expires_at))
        self._remembered.move_to_end(digest)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return token

    async def _verified(self, text: str, now: float) -> VerifiedToken:
        try:
            key = await self._keys.get(_kid_of(text))
            if key is None:
                raise BadCredential
            # the times are compared below, with the clock that was handed in
            claims = jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": _CLAIMS, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            return _token_of(claims, now)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise BadCredential from None


def _kid_of(text: str) -> str:
    header = jwt.get_unverified_header(text)
    if set(header) != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE or not isinstance(header["kid"], str):
        raise BadCredential
    kid: str = header["kid"]
    return kid


def _token_of(claims: Mapping[str, Any], now: float) -> VerifiedToken:
    expires_at, issued_at, not_before = (float(claims.get(name, 0)) for name in ("exp", "iat", "nbf"))
    if not now < expires_at or max(issued_at, not_before) > now + _CLOCK_SKEW_S:
        raise BadCredential
    return VerifiedToken(str(UUID(claims["sub"])), str(UUID(claims["sid"])), expires_at)
