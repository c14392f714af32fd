"""Access tokens as `shared.access_tokens` describes them, and the public keys they are verified with.

The keys of the ring are derived, so that no process and no table holds one: the Ed25519 seed of a key is HKDF-SHA256 (RFC 5869)
of a master and the key's id. The first key's seed is the master itself (docs/adr/0014).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth_service.adapters.ed25519 import public_jwk
from auth_service.domain.signing import FIRST, SigningRing
from shared.access_tokens import ALGORITHM, AUDIENCE, ISSUER, LIFETIME_S, TYPE
from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import IdFactory

__all__ = ["SignedTokens", "seed_of"]

_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Pair:
    """`jwk` is the public half, as RFC 7517 writes it."""

    private: Ed25519PrivateKey
    jwk: Mapping[str, str]


class SignedTokens:
    """`masters` have 32 bytes each: keys of the first sign, the public halves of the keys of all are published.

    Unavailable until a ring was handed to `use`.
    """

    def __init__(self, masters: Sequence[bytes], *, clock: Clock, new_id: IdFactory) -> None:
        self._masters = masters
        self._clock = clock
        self._new_id = new_id
        self._ring: SigningRing | None = None
        self._pairs: dict[UUID, list[_Pair]] = {}

    @property
    def lifetime_s(self) -> int:
        return LIFETIME_S

    def use(self, ring: SigningRing) -> None:
        """From now on; which of its keys signs is the clock's to say."""
        known = self._pairs
        self._pairs = {key.id: known.get(key.id) or [_pair(master, key.id) for master in self._masters] for key in ring.keys}
        self._ring = ring

    def jwks(self) -> dict[str, Any]:
        """RFC 7517's key set."""
        published = self._known().published(self._clock())
        return {"keys": [pair.jwk for key in published for pair in self._pairs[key.id]]}

    def issue(self, user_id: UUID, session_id: UUID) -> str:
        now = self._clock()
        pair = self._pairs[self._known().signing(now).id][0]
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(self._new_id()),
            "iat": now,
            "exp": now + timedelta(seconds=LIFETIME_S),
        }
        return jwt.encode(claims, pair.private, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": pair.jwk["kid"]})

    def _known(self) -> SigningRing:
        if self._ring is None:
            raise Unavailable("the signing keys are not known yet")
        return self._ring


def seed_of(master: bytes, key_id: UUID) -> bytes:
    if key_id == FIRST:
        return master
    return HKDF(SHA256(), _SEED_BYTES, salt=None, info=key_id.bytes).derive(master)


def _pair(master: bytes, key_id: UUID) -> _Pair:
    private = Ed25519PrivateKey.from_private_bytes(seed_of(master, key_id))
    return _Pair(private, {**public_jwk(private.public_key()), "alg": ALGORITHM, "use": "sig"})
