"""Records of requests that wait to be sent to ratelimit-service: how many, and which go first when there is no room."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.domain.requests import RequestRecord

__all__ = ["BATCH", "RECORD_BYTES", "Lost", "RequestBuffer"]

BATCH = 500
"""Records in one message: some 50 KB, made in half a millisecond."""
RECORD_BYTES = 1024
"""What a record takes in memory at most: every text in it is bounded."""
_RESERVED = 4
"""Of the room, one part in so many is kept for what was refused or failed: while all else is dropped, why is still told."""


class Lost(NamedTuple):
    """Records that were dropped, with what they had cost."""

    events: int = 0
    units: int = 0


class RequestBuffer:
    """At most `most` records, in the order in which they came.

    When it is full the newest is dropped and counted, so that what is kept has one hole and not many. `full_batch` is called
    whenever another batch is complete, `on_drop` with each record that is dropped.
    """

    def __init__(self, most: int, *, full_batch: Callable[[], None], on_drop: Callable[[RequestRecord], None]) -> None:
        self._most = most
        self._most_served = most - most // _RESERVED
        self._records: list[RequestRecord] = []
        self._lost = Lost()
        self._full_batch = full_batch
        self._on_drop = on_drop

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: RequestRecord) -> None:
        """A `Recorder`."""
        waiting = len(self._records)
        if waiting >= (self._most_served if record.call.status < 400 else self._most):
            self._drop(record)
            return
        self._records.append(record)
        if (waiting + 1) % BATCH == 0:
            self._full_batch()

    def take(self) -> list[RequestRecord]:
        """The oldest batch; it is the caller's from here on."""
        taken, self._records = self._records[:BATCH], self._records[BATCH:]
        return taken

    def take_lost(self) -> Lost:
        """What was dropped since this was asked before."""
        lost, self._lost = self._lost, Lost()
        return lost

    def drop(self, records: Iterable[RequestRecord]) -> None:
        for record in records:
            self._drop(record)

    def _drop(self, record: RequestRecord) -> None:
        self._lost = Lost(self._lost.events + 1, self._lost.units + record.units)
        self._on_drop(record)
