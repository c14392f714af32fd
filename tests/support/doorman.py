"""A service behind somebody who vouches for one key, for commands that speak to a gateway."""

from typing import Any

from starlette.types import Receive, Scope, Send

from shared.clock import Clock, system_clock
from shared.principal import HEADER, EnvelopeSigner, KeyRing, Principal
from tests.support.principals import PRINCIPAL_KEYS

__all__ = ["KEY", "Doorman"]

KEY = "kalpi_live_of_an_administrator"


class Doorman:
    """Vouches for whoever shows that key, in the gateway's place."""

    def __init__(self, service: Any, principal: Principal, audience: str, clock: Clock = system_clock) -> None:
        self._service = service
        self._principal = principal
        self._audience = audience
        self._signer = EnvelopeSigner(KeyRing.parse(PRINCIPAL_KEYS), clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (b"x-api-key", KEY.encode()) in scope["headers"]:
            vouched = self._signer.sign(self._principal, audience=self._audience).encode()
            scope = {**scope, "headers": [*scope["headers"], (HEADER.lower().encode(), vouched)]}
        if scope["type"] == "http":
            await self._service(scope, receive, send)
