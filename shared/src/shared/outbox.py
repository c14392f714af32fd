"""Answers that are ready in one turn of the event loop, sent one after the other at its end.

Each write wakes whoever reads it. One who runs on the same processor is let in right then, and the next request finds the caches
full of his (docs/adr/0027).
"""

import asyncio
from collections.abc import Iterable

__all__ = ["Outbox"]

MOST = 16
"""Answers that wait for the end of a turn; beyond, the first would wait for more than is gained."""


class Outbox:
    """Of one server. What waits is sent before anything else is written to its transport, or it is closed: by `send`."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting: dict[asyncio.Transport, Iterable[bytes]] = {}
        self._ending = False

    def put(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, pieces: Iterable[bytes]) -> None:
        waiting = self._waiting
        if transport in waiting:
            self.send(transport)
        waiting[transport] = pieces
        if len(waiting) >= self._most:
            self._send_all()
        elif not self._ending:
            self._ending = True
            loop.call_soon(self._end_turn)

    def send(self, transport: asyncio.Transport) -> None:
        """What waits for this one, if anything does."""
        pieces = self._waiting.pop(transport, None)
        if pieces is not None and not transport.is_closing():
            transport.writelines(pieces)

    def _end_turn(self) -> None:
        self._ending = False
        self._send_all()

    def _send_all(self) -> None:
        for transport in tuple(self._waiting):
            self.send(transport)
