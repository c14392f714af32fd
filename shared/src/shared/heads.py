"""Heads of requests that come again byte for byte, as a client's do that polls: what was read of one is not read again.

What a head says follows from its bytes alone, so nothing that is kept here can be out of date. Whether it is answered, and with
what, is decided anew each time it comes (docs/adr/0027).
"""

import asyncio
from collections.abc import Mapping
from typing import Any

__all__ = ["LONGEST", "Head", "Heads"]

LONGEST = 2048
"""Bytes of a head that is kept."""
MOST = 4096
KEPT_S = 10.0


class Head:
    """Of a plain GET: the target as it was sent, and the header fields, their names in lower case, each of which came once.

    `note` is for the application: what follows from the rest, and from nothing else.
    """

    __slots__ = ("note", "sent", "target")

    def __init__(self, target: bytes, sent: Mapping[bytes, bytes]) -> None:
        self.target = target
        self.sent = sent
        self.note: Any = None


class Heads:
    """Those of all connections of a server that have come twice within `KEPT_S`: one that differs each time leaves a number.

    In two halves of at most `most` each: what the older one has is looked for once more before it goes. With `keep_young`, one
    that does not come again is gone after once to twice that time. They hold credentials, as the gateway's `Callers` do, as long.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._newer: dict[bytes, Head] = {}
        self._older: dict[bytes, Head] = {}
        self._came: set[int] = set()

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def find(self, received: bytes) -> Head | None:
        head = self._newer.get(received)
        if head is None and (head := self._older.pop(received, None)) is not None:
            self._put(received, head)
        return head

    def keep(self, received: bytes, head: Head) -> None:
        number = hash(received)
        if number in self._came and len(received) <= LONGEST:
            self._put(received, head)
        elif len(self._came) < self._most:
            self._came.add(number)
        else:
            self._came = {number}

    def forget(self, received: bytes) -> None:
        self._newer.pop(received, None)

    def clear(self) -> None:
        self._newer, self._older = {}, {}

    def turn(self) -> None:
        """What has not come since the last time is forgotten."""
        self._older, self._newer, self._came = self._newer, {}, set()

    async def keep_young(self, kept_s: float = KEPT_S) -> None:
        """For as long as the server runs."""
        while True:
            await asyncio.sleep(kept_s)
            self.turn()

    def _put(self, received: bytes, head: Head) -> None:
        if len(self._newer) >= self._most:
            self.turn()
        self._newer[received] = head
