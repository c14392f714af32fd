"""Which requests are kept in the log: all that were refused or failed, and of the others a share, when they are too many."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ratelimit_service.domain.requests import Request, Requests

__all__ = ["LogEntry", "Sampler"]


class LogEntry(NamedTuple):
    """`kept` is the share of such requests that was kept when this one was: it stands for 1/kept of them."""

    request: Request
    kept: float


class Sampler:
    """Keeps about `per_s` a second of the requests that succeeded. `monotonic` is in seconds, `random` from 0 to 1.

    The share is the same for all requests that come together, and which of them are kept is chance: so the sum of 1/kept over
    kept rows is, on average, the number of requests.
    """

    def __init__(self, per_s: float, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._per_s = per_s
        self._monotonic = monotonic
        self._random = random
        self._room = per_s
        self._looked_at = monotonic()

    def sample(self, batches: Sequence[Requests]) -> list[LogEntry]:
        now = self._monotonic()
        self._room = min(self._per_s, self._room + (now - self._looked_at) * self._per_s)
        self._looked_at = now
        failed = [requests.failed for requests in batches]
        served = sum(len(those) - sum(those) for those in failed)
        share = 1.0 if served <= self._room else max(self._room, 1.0) / served
        kept = [
            LogEntry(requests[place], 1.0 if is_failed else share)
            for requests, those in zip(batches, failed, strict=True)
            for place, is_failed in enumerate(those)
            if is_failed or share == 1.0 or self._random() < share
        ]
        self._room -= len(kept) - sum(map(sum, failed))
        return kept
