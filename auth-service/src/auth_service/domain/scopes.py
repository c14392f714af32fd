"""What a new key may be made for: no more than the credential that asks for it.

Otherwise a key that was given away for little, or for a while, could be exchanged for one that is worth more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from auth_service.domain.errors import BeyondCaller
from auth_service.domain.model import ApiKey, Network
from shared.errors import ScopeRequired
from shared.scopes import Scope, scopes_of

__all__ = ["Limits", "check_within", "granted", "inherited"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key is good for, until when (None: until it is revoked) and from where (None: from anywhere)."""

    scopes: tuple[Scope, ...]
    expires_at: datetime | None
    allowed_ips: tuple[Network, ...] | None


def granted(scopes: Iterable[Scope], roles: Sequence[str]) -> tuple[Scope, ...]:
    """What is left of a key's scopes with the roles its user has now."""
    allowed = scopes_of(roles)
    return tuple(scope for scope in scopes if scope in allowed)


def inherited(asked: Limits, asking: ApiKey | None) -> Limits:
    """What is left open, an end or from where, is as in the key that asks (None: a session does)."""
    if asking is None:
        return asked
    return Limits(asked.scopes, asked.expires_at or asking.expires_at, asked.allowed_ips or asking.allowed_ips)


def check_within(asked: Limits, held: Sequence[Scope], asking: ApiKey | None) -> None:
    """For a caller who holds these scopes, with the key `asking` (None: with a session). ScopeRequired, BeyondCaller."""
    for scope in asked.scopes:
        if scope not in held:
            raise ScopeRequired(scope)
    if asking is None:
        return
    if asking.expires_at is not None and (asked.expires_at is None or asked.expires_at > asking.expires_at):
        raise BeyondCaller("valid for longer")
    if asking.allowed_ips is not None and not _covered(asked.allowed_ips, asking.allowed_ips):
        raise BeyondCaller("valid from more addresses")


def _covered(networks: Sequence[Network] | None, by: Sequence[Network]) -> bool:
    return networks is not None and all(any(_is_in(network, wider) for wider in by) for network in networks)


def _is_in(network: Network, wider: Network) -> bool:
    # mypy: both are of one version here, which subnet_of wants
    return network.version == wider.version and network.subnet_of(wider)  # type: ignore[arg-type]
