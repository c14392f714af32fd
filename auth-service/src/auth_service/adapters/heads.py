"""Heads of the audit chain: signed with Ed25519, told to the log, and appended to a file."""

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from auth_service.adapters.ed25519 import public_jwk, public_key_of
from auth_service.domain.chain import Head, Link, head_bytes, head_document, parse_head
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["Ed25519Heads", "ExportedHeads", "HeadVerifier", "read_heads"]

_log = get_logger("audit")


class Ed25519Heads:
    """`seed` is a private key of 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = public_jwk(self._key.public_key())
        self._kid = public["kid"]
        self.public_key = public["x"]
        """base64url of its 32 bytes: what a verifier is given."""

    def sign(self, link: Link, at: datetime) -> Head:
        return Head(link, at, self._kid, self._key.sign(head_bytes(link, at)))


class HeadVerifier:
    """`public_keys` are base64url of 32 bytes; ValueError when one is not."""

    def __init__(self, public_keys: Iterable[str]) -> None:
        keys = [public_key_of(text) for text in public_keys]
        self._keys: dict[str, Ed25519PublicKey] = {public_jwk(key)["kid"]: key for key in keys}

    def is_genuine(self, head: Head) -> bool:
        key = self._keys.get(head.kid)
        if key is None:
            return False
        try:
            key.verify(head.signature, head_bytes(head.link, head.signed_at))
        except InvalidSignature:
            return False
        return True


class ExportedHeads:
    """A line of the log, and one of JSON at the end of `path` where there is one: written and synced before it counts."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    async def export(self, head: Head) -> None:
        told = head_document(head)
        if self._path is not None:
            try:
                await asyncio.to_thread(_append, self._path, json.dumps(told) + "\n")
            except OSError as error:
                raise Unavailable(f"the head of the audit trail could not be written ({error.strerror})") from error
        _log.info("audit head", **told)


def read_heads(path: Path) -> Iterator[tuple[int, Head | None]]:
    """Each line's number and its head; None where it is none. OSError when it cannot be read."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield number, parse_head(line)
            except ValueError:
                yield number, None


def _append(path: Path, line: str) -> None:
    # one write to the end: lines of several processes do not mix
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)
