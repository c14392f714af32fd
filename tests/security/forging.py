"""Tokens as nobody should send them."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Sign = Callable[[bytes], bytes]


def part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`...` takes a member away."""
    return {name: value for name, value in {**members, **changes}.items() if value is not ...}


def compact(header: bytes | Mapping[str, Any], payload: bytes | Mapping[str, Any], sign: Sign) -> str:
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in (header, payload)]
    signing_input = ".".join(map(part, texts))
    return f"{signing_input}.{part(sign(signing_input.encode()))}"


@dataclass(frozen=True)
class Forge:
    """A genuine token, what it says, and the private key it was signed with."""

    token: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    key: Ed25519PrivateKey

    @classmethod
    def of(cls, token: str, seeds: Sequence[bytes]) -> Self:
        """`seeds` are the keys it may have been signed with."""
        signing_input, _, signature = token.rpartition(".")
        header, _, claims = signing_input.partition(".")
        for key in map(Ed25519PrivateKey.from_private_bytes, seeds):
            try:
                key.public_key().verify(decoded(signature), signing_input.encode())
            except InvalidSignature:
                continue
            return cls(token, json.loads(decoded(header)), json.loads(decoded(claims)), key)
        raise AssertionError("it was signed with none of these keys")

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def jwk(self) -> dict[str, str]:
        return {"crv": "Ed25519", "kty": "OKP", "x": part(self.public)}

    def sealed(self, payload: bytes | Mapping[str, Any] | None = None, header: bytes | Mapping[str, Any] | None = None) -> str:
        """Whatever it says, under the genuine key; what is not given is as it was."""
        return compact(self.header if header is None else header, self.claims if payload is None else payload, self.key.sign)

    def claiming(self, **changes: Any) -> str:
        """As `sealed`, with other claims."""
        return self.sealed(changed(self.claims, changes))

    def headed(self, **changes: Any) -> str:
        """As `sealed`, with another header."""
        return self.sealed(header=changed(self.header, changes))

    def signed(self, sign: Sign, **changes: Any) -> str:
        """The genuine claims under a changed header, signed by somebody else."""
        return compact(changed(self.header, changes), self.claims, sign)
