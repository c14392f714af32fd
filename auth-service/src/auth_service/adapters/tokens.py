"""Access tokens as `shared.access_tokens` describes them, and the public keys they are verified with."""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER, LIFETIME_S, TYPE
from shared.clock import Clock
from shared.ids import IdFactory

__all__ = ["SignedTokens"]


class SignedTokens:
    """`seeds` are Ed25519 private keys of 32 bytes: the first signs, the public halves of all are published."""

    def __init__(self, seeds: Sequence[bytes], *, clock: Clock, new_id: IdFactory) -> None:
        keys = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
        published = [_public(key) for key in keys]
        self._key = keys[0]
        self._header = {"typ": TYPE, "kid": published[0]["kid"]}
        self._clock = clock
        self._new_id = new_id
        self.jwks = {"keys": published}
        """RFC 7517's key set."""

    @property
    def lifetime_s(self) -> int:
        return LIFETIME_S

    def issue(self, user_id: UUID, session_id: UUID) -> str:
        now = self._clock()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(self._new_id()),
            "iat": now,
            "exp": now + timedelta(seconds=LIFETIME_S),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=self._header)


def _public(key: Ed25519PrivateKey) -> dict[str, Any]:
    required = {"crv": "Ed25519", "kty": "OKP", "x": _text(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}
    # RFC 7638: the digest of the required members, in this order, without white space
    thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    return {**required, "alg": ALGORITHM, "use": "sig", "kid": _text(thumbprint)}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
