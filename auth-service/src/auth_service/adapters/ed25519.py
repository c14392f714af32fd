"""Public keys of Ed25519 as RFC 8037 writes them, and their names."""

import base64
import binascii
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["public_jwk", "public_key_of"]


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The required members, and `kid`: RFC 7638's thumbprint, their digest in this order and without white space."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": _text(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    return {**required, "kid": _text(thumbprint)}


def public_key_of(text: str) -> Ed25519PublicKey:
    """From base64url; ValueError when it is not one of 32 bytes."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("not the base64url of an Ed25519 public key") from None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
