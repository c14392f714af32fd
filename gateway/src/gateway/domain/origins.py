"""From which web pages the API is used: CORS, as the Fetch standard has browsers ask.

A browser asks before it sends a credential (the preflight), so that is answered from the origins that any tenant allows. The
request itself is held to those of its own tenant, and whatever comes from elsewhere is refused before it does anything: no page
tries passwords from its visitors' addresses. Nothing is ever allowed to all (`*`), and no cookie is a credential here.

A request without `Origin` is no page's, or one that reads only; one from a page of this very host needs no permission.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from gateway.domain.errors import OriginRefused
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["ALLOWED_HEADERS", "ALLOWED_METHODS", "EXPOSED_HEADERS", "PREFLIGHT_S", "Origins", "page_of"]

ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = "Authorization, X-API-Key, Accept, Content-Type, If-None-Match, X-Request-ID"
EXPOSED_HEADERS = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Cache, X-Kalpi-Incomplete, X-Request-ID"
PREFLIGHT_S = 600
"""How long a browser need not ask again; the request itself is looked at all the same."""

LOOK_AGAIN_S = 30.0
_RETRY_S = 0.5
_APART_S = 0.1
_log = get_logger("origins")


class OriginSource(Protocol):
    async def origins(self) -> Collection[str]:
        """All that some tenant allows. Unavailable."""


class Origins:
    """Known after the first look; until then none is allowed."""

    def __init__(self, source: OriginSource) -> None:
        self._source = source
        self._known: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def look(self) -> None:
        """A tenant has changed: they are asked for again, soon and once for many changes."""
        self._changed.set()

    def check(self, origin: str) -> None:
        """OriginRefused when no tenant allows it."""
        if origin not in self._known:
            raise OriginRefused

    async def refresh(self) -> bool:
        """Whether auth-service has answered; what was known before stays."""
        self._changed.clear()
        try:
            self._known = frozenset(await self._source.origins())
        except Unavailable as error:
            _log.warning("origins of tenants are not read; those known stay", why=error.detail)
            return False
        return True

    async def run(self) -> None:
        """For as long as the gateway runs."""
        while True:
            wait_s = LOOK_AGAIN_S if await self.refresh() else _RETRY_S
            await asyncio.sleep(_APART_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()


def page_of(origin: bytes | None, host: bytes | None) -> str | None:
    """The origin of another page that asks; None for no page's request, and for one of this host."""
    if origin is None:
        return None
    text = origin.decode("latin-1")
    return None if host is not None and _authority(text) == host.decode("latin-1").lower() else text


def _authority(origin: str) -> str | None:
    """As a browser puts it into `Host`."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
