"""What a credential may be used for: an API key has the scopes it was made with, a session all that its user's roles allow.

Which one a route needs stands in the gateway's route table.
"""

from collections.abc import Iterable
from typing import Literal

__all__ = ["ADMIN", "DATA_SCOPES", "SCOPES", "Scope", "in_order", "scopes_of"]

Scope = Literal["indicators:read", "bars:read", "batch", "screener", "keys:manage", "admin"]

ADMIN: Scope = "admin"
DATA_SCOPES: tuple[Scope, ...] = ("indicators:read", "bars:read", "batch", "screener")
"""Of a new key that names none."""

SCOPES: tuple[Scope, ...] = (*DATA_SCOPES, "keys:manage", ADMIN)


def in_order(names: Iterable[str]) -> tuple[Scope, ...]:
    """Those that are scopes, each once."""
    wanted = set(names)
    return tuple(scope for scope in SCOPES if scope in wanted)


def scopes_of(roles: Iterable[str]) -> tuple[Scope, ...]:
    """All that a user of these roles may have."""
    return SCOPES if ADMIN in roles else SCOPES[:-1]
