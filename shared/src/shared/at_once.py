"""Answers that an application gives to the server at once, without a task, a scope or messages (docs/adr/0016).

An application that can sets `app.state.at_once`; the server asks it of each plain GET before it goes the way of ASGI. With
`app.state.heads` as well, a head that comes again is not parsed again (`shared.heads`).
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, NamedTuple, Protocol

from shared.heads import Head

__all__ = [
    "GONE",
    "WHOLE",
    "AnswerAtOnce",
    "AnswerWhole",
    "AtOnce",
    "CallWhenGone",
    "Fields",
    "Message",
    "Peer",
    "Send",
    "Soon",
    "Turn",
    "lines_of",
]

GONE = "kalpi.gone"
"""In a scope's `extensions`, with a `CallWhenGone` as its `call`."""
WHOLE = "kalpi.whole"
"""In a scope's `extensions`, with an `AnswerWhole` as its `answer`."""

Fields = list[tuple[bytes, bytes]]
"""Header fields as they came, names in lower case."""
Peer = tuple[str, int] | None


class AtOnce(NamedTuple):
    """A whole answer; `lines` are its header fields as they go onto the wire, and are well-formed."""

    status: int
    lines: bytes
    body: bytes

    def as_last(self) -> "AtOnce":
        """It says that the connection ends with it."""
        return self._replace(lines=self.lines + b"connection: close\r\n")


Soon = Coroutine[Any, Any, AtOnce | None]
"""An answer that somebody else is asked about first, or None once it has been sent in messages. It must not raise."""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
"""As of ASGI."""

CallWhenGone = Callable[[Callable[[], None] | None], bool]
"""`gone` is called, once, where the client goes before it is answered, which else takes a task that waits for `http.disconnect`;
None calls nobody any more. False where it has gone already."""


class Turn(Protocol):
    """What an answer that comes soon has of the connection that waits for it."""

    def call_when_gone(self, gone: Callable[[], None] | None, /) -> bool:
        """A `CallWhenGone`."""
        ...

    def messages(self) -> Send:
        """For an answer that does not come whole, from its start to its end."""
        ...


AnswerAtOnce = Callable[[Head, Peer, Turn], AtOnce | Soon | None]
"""Of a plain GET, who connected, and the turn of what is answered soon; None for what goes the way of ASGI."""

AnswerWhole = Callable[[MutableMapping[str, Any], AtOnce], bool]
"""Of a scope, and the whole answer: in one write, instead of two messages. False where those are needed."""


def lines_of(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])
