"""What a service answers, as it comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

import aiohttp

from gateway.domain.patience import Patience
from shared.errors import Unavailable

__all__ = ["BrokenAnswer", "UpstreamAnswer"]

_CHUNK = 64 * 1024
# RFC 9110, section 7.6.1, and what this hop says for itself
_DROPPED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"date",
        b"server",
    }
)


class BrokenAnswer(Exception):
    """A service stopped in the middle of an answer that the client has already begun to receive."""


class UpstreamAnswer:
    """Status and headers have come; the body is read once, whole or in pieces. `broken`: it was not to be had whole."""

    def __init__(self, service: str, response: aiohttp.ClientResponse, patience: Patience) -> None:
        self._service = service
        self._response = response
        self._patience = patience
        self.status = response.status
        self.headers = _for_the_client(response.raw_headers)
        self.broken = False

    def release(self) -> None:
        """A body that was not read to its end takes its connection with it."""
        self._response.release()

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    async def read(self) -> bytes:
        """The whole body; Unavailable when it does not come."""
        try:
            return b"".join([piece async for piece in self.pieces()])
        except BrokenAnswer as error:
            raise Unavailable(f"{self._service} did not answer whole") from error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; BrokenAnswer when it ends too early, or comes too slowly."""
        content = self._response.content
        try:
            while True:
                piece = content.read_nowait(_CHUNK)
                if not piece:
                    if content.at_eof():
                        return
                    piece = await self._next(content)
                if piece:
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            self.broken = True
            raise BrokenAnswer(f"{self._service}: {type(error).__name__}") from error

    async def _next(self, content: aiohttp.StreamReader) -> bytes:
        asked_at = time.monotonic()
        async with asyncio.timeout(self._patience.left_s):
            piece = await content.read(_CHUNK)
        self._patience.came(len(piece), time.monotonic() - asked_at)
        return piece


def _for_the_client(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """All fields but those of this hop, and those that Connection names as such; in lower case."""
    kept, named = [], set[bytes]()
    for name, value in raw:
        lower = name.lower()
        if lower not in _DROPPED:
            kept.append((lower, value))
        elif lower == b"connection":
            named.update(word.strip().lower() for word in value.split(b","))
    return tuple(field for field in kept if field[0] not in named) if named else tuple(kept)
