"""What the edge needs of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gateway.domain.addresses import AllowList
from gateway.domain.requests import CallerRecord
from shared.principal import Principal

__all__ = ["AuthService", "BarVersions", "Identity", "Resolved"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What auth-service is asked about: a key by its digest, or a user's session."""

    key_sha256: str | None = None
    user_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom an identity stands for, until when (None: until it is revoked), and from where (None: from anywhere).

    `allowed_origins` are those of the web pages that may ask for them; `spender` is who is recorded of what they spend.
    """

    principal: Principal
    expires_at: datetime | None
    allowed_ips: AllowList | None = None
    allowed_origins: tuple[str, ...] = ()
    spender: CallerRecord = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spender", CallerRecord.of(self.principal, spent=True))


class AuthService(Protocol):
    """All raise Unavailable when nobody answers."""

    async def resolve(self, identities: Sequence[Identity]) -> Sequence[Resolved | None]:
        """Of up to 256, in their order: None for one that names nobody valid."""
        ...

    async def signing_keys(self) -> Mapping[str, Any]:
        """The public keys by kid."""
        ...


class BarVersions(Protocol):
    """The newest data version of each symbol, as far as the market facts have told."""

    @property
    def current(self) -> bool:
        """False while a fact may have been missed."""
        ...

    @property
    def moves(self) -> int:
        """Grows with every fact, and with every gap in them."""
        ...

    def newest(self, symbol: str) -> str | None: ...

    def moved(self, symbol: str) -> int:
        """`moves` as it was after the symbol's newest fact, or the newest gap."""
        ...
