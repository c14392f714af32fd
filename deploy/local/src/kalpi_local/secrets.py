"""The secrets of one embedded stack: made once, kept in `secrets.json` (0600), never printed."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

from kalpi_local.errors import LocalError
from kalpi_local.files import private_folder, read_json, write_private

__all__ = ["DEMO_USERS", "Secrets"]

DEMO_USERS = ("demo-free", "demo-pro", "demo-premium", "demo-enterprise", "demo-admin")
_KEYS = ("signing_key", "refresh_key", "audit_key")
_ROLES = ("auth_owner", "auth_app", "indicator_owner", "indicator_app", "ratelimit_owner", "ratelimit_app")
_PASSWORDS = ("postgres", "valkey", "nats", *_ROLES, *DEMO_USERS)


class Secrets:
    """Reads the file and adds what it lacks; what is in it stays as it is."""

    def __init__(self, path: Path, random: Callable[[int], bytes] = os.urandom) -> None:
        private_folder(path.parent)
        self._values = read_json(path)
        if path.exists() and not self._values:
            raise LocalError(f"{path} cannot be read; without it the data beside it is locked: restore it, or remove the folder")
        missing = {name: _encode(random(32)) for name in (*_KEYS, *_PASSWORDS) if name not in self._values}
        if "principal_keys" not in self._values:
            missing["principal_keys"] = f"{random(4).hex()}:{_encode(random(32))}"
        if missing:
            self._values |= missing
            write_private(path, json.dumps(self._values, indent=1) + "\n")

    @property
    def principal_keys(self) -> str:
        """The value of KALPI_PRINCIPAL_KEYS: `kid:base64url`."""
        return str(self._values["principal_keys"])

    @property
    def signing_key(self) -> str:
        """base64url of a 32-byte Ed25519 seed."""
        return str(self._values["signing_key"])

    @property
    def refresh_key(self) -> str:
        return str(self._values["refresh_key"])

    @property
    def audit_key(self) -> str:
        """base64url of a 32-byte Ed25519 seed."""
        return str(self._values["audit_key"])

    def password(self, name: str) -> str:
        """Of a server, a database role or a demo user; safe inside a URL and a configuration file."""
        return str(self._values[name])


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
