"""What the edge needs of the world."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.domain.addresses import AllowList
from shared.principal import Principal

__all__ = ["Answer", "AnswerStore", "AuthService", "BarVersions", "Identity", "Resolved"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What auth-service is asked about: a key by its digest, or a user's session."""

    key_sha256: str | None = None
    user_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom an identity stands for, until when (None: until it is revoked), and from where (None: from anywhere).

    `allowed_origins` are those of the web pages that may ask for them.
    """

    principal: Principal
    expires_at: datetime | None
    allowed_ips: AllowList | None = None
    allowed_origins: tuple[str, ...] = ()


class AuthService(Protocol):
    """Both raise Unavailable when nobody answers."""

    async def resolve(self, identity: Identity) -> Resolved | None:
        """None when it names nobody valid."""
        ...

    async def signing_keys(self) -> Mapping[str, Any]:
        """The public keys by kid."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole 200 as a service gave it."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class AnswerStore(Protocol):
    """A store that is away finds nothing and keeps nothing: that only slows."""

    async def get(self, key: str) -> Answer | None: ...

    async def put(self, key: str, answer: Answer) -> None: ...


class BarVersions(Protocol):
    """The newest data version of each symbol, as far as the market facts have told."""

    @property
    def current(self) -> bool:
        """False while a fact may have been missed."""
        ...

    def newest(self, symbol: str) -> str | None: ...
