"""Signed principals for tests that speak to a service directly, as the gateway does."""

import base64
import secrets
from collections.abc import Iterator

import httpx

from shared.clock import system_clock
from shared.ids import new_id
from shared.limits.plans import Entitlements
from shared.principal import HEADER, EnvelopeSigner, KeyRing, Principal
from shared.scopes import scopes_of

PRINCIPAL_KEYS = f"test:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"
"""The value of KALPI_PRINCIPAL_KEYS of this test run."""

ALL = Entitlements(
    indicators="all", history_days=None, batch_series=1000, features=("expressions", "screener", "patterns", "custom_indicators")
)


def user(tier: str = "premium", *, roles: tuple[str, ...] = ()) -> Principal:
    """A user of a tenant of their own, as with a session."""
    owner = {"user_id": str(new_id()), "tenant_id": str(new_id())}
    return Principal(kind="user", **owner, tier=tier, roles=roles, scopes=scopes_of(roles))


def headers_for(principal: Principal, audience: str, entitlements: Entitlements | None = ALL) -> dict[str, str]:
    signer = EnvelopeSigner(KeyRing.parse(PRINCIPAL_KEYS), system_clock)
    return {HEADER: signer.sign(principal, audience=audience, entitlements=entitlements, client_ip="127.0.0.1")}


class Vouched(httpx.Auth):
    """Vouches anew for each request that does not say itself who asks: a signature holds for 30 s, and a test may take longer."""

    def __init__(self, principal: Principal, audience: str) -> None:
        self._principal, self._audience = principal, audience

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]  # httpx sends it nothing
        for name, value in headers_for(self._principal, self._audience).items():
            request.headers.setdefault(name, value)
        yield request
