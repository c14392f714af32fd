"""What a service answers, as it comes."""

import time
from collections.abc import AsyncIterator, Iterable

from gateway.adapters.http1.answer import PIECE, Answer
from gateway.adapters.http1.reading import BODILESS
from gateway.domain.patience import Patience
from shared.at_once import Fields
from shared.errors import Unavailable

__all__ = ["BrokenAnswer", "UpstreamAnswer"]

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

    __slots__ = ("_answer", "_patience", "_service", "_values", "broken", "headers", "status")

    def __init__(self, service: str, answer: Answer, patience: Patience) -> None:
        self._service = service
        self._answer = answer
        self._patience = patience
        self.status = answer.status
        self.headers = _for_the_client(answer.fields)
        if self.status in BODILESS:  # a server would wait for what it is told of
            self.headers = [field for field in self.headers if field[0] != b"content-length"]
        self._values = dict(reversed(self.headers))
        self.broken = False

    def release(self) -> None:
        """A body that was not read to its end takes its connection with it."""
        self._answer.release()

    def header(self, name: bytes) -> bytes | None:
        """The first of that name."""
        return self._values.get(name)

    def at_hand(self) -> bytes | None:
        """The body, where all of it has come and it is short; its headers then say how long it is."""
        answer = self._answer
        if not answer.is_whole or answer.held > PIECE:
            return None
        body = answer.take()
        if self.status not in BODILESS and self.header(b"content-length") is None:
            self.headers.append((b"content-length", b"%d" % len(body)))
        return body

    async def read(self) -> bytes:
        """The whole body; Unavailable when it does not come."""
        try:
            return b"".join([piece async for piece in self.pieces()])
        except BrokenAnswer as error:
            raise Unavailable(f"{self._service} did not answer whole") from error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; BrokenAnswer when it ends too early, or comes too slowly."""
        answer, patience = self._answer, self._patience
        while True:
            piece = answer.take()
            if piece:
                yield piece
            elif answer.is_whole:
                return
            elif answer.failure is not None:
                self.broken = True
                raise BrokenAnswer(f"{self._service}: {answer.failure}")
            else:
                asked_at = time.monotonic()
                await answer.more(patience.left_s)
                patience.came(answer.held, time.monotonic() - asked_at)


def _for_the_client(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """All fields but those of this hop, and those that Connection names as such."""
    kept: Fields = []
    named = set[bytes]()
    for field in fields:
        if field[0] not in _DROPPED:
            kept.append(field)
        elif field[0] == b"connection":
            named.update(word.strip().lower() for word in field[1].split(b","))
    return [field for field in kept if field[0] not in named] if named else kept
