"""Answers that are sent piece by piece, as they are read: what the server would hold of them is counted, and not for ever."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from indicator_service.domain.unread import Unread, UnreadRoom
from shared.logging import get_logger
from shared.principal import Envelope

__all__ = ["PiecesResponse", "unread"]

_AT_ONCE = 256 << 10
_DEADLINE_S = 30.0
_SLOWEST = 1 << 20
"""Bytes a second that a reader takes at least, after those seconds."""
_log = get_logger("answers")


def unread(request: Request) -> Unread:
    """Room for the answer to a request, none of it taken yet."""
    room: UnreadRoom = request.app.state.unread
    envelope: Envelope = request.state.envelope
    return Unread(room, envelope.principal.account)


class PiecesResponse(Response):
    """`sent` is called once nothing of it is held any more: it was read, or its reader went away or was too slow, whose
    connection is closed then."""

    def __init__(self, pieces: Sequence[bytes], media_type: str, headers: Mapping[str, str], sent: Callable[[], None]) -> None:
        self._length = sum(map(len, pieces))
        super().__init__(media_type=media_type, headers={**headers, "Content-Length": str(self._length)})
        self._pieces = pieces
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as of every response
        try:
            async with asyncio.timeout(_DEADLINE_S + self._length / _SLOWEST):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                for part in _parts(self._pieces):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # the server closes a connection whose answer was not completed
            _log.warning("an answer was read too slowly", path=scope["path"], bytes=self._length)
        finally:
            self._sent()


def _parts(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of about one length."""
    gathered, length = list[bytes](), 0
    for piece in pieces:
        for at in range(0, len(piece), _AT_ONCE):
            gathered.append(piece[at : at + _AT_ONCE])
            length += len(gathered[-1])
            if length >= _AT_ONCE:
                yield b"".join(gathered)
                gathered, length = [], 0
    if gathered:
        yield b"".join(gathered)
