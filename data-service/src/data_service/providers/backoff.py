"""How long to wait before trying again.

The n-th wait (from 0) lies in [c/2, c] with c = min(first x 2^n, most): exponential, so that a provider in trouble is left alone;
jittered, so that many clients do not come back together ("equal jitter", AWS Architecture Blog, 2015); bounded. Whoever said when
to come back is believed, unless that is later than `patience_s`: then it is given up at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from data_service.providers.base import ProviderAway, RateLimited

__all__ = ["Backoff", "Random", "Sleep", "persist"]

Random = Callable[[], float]
"""Uniform in [0, 1), as `random.random`."""
Sleep = Callable[[float], None]
T = TypeVar("T")
# beyond this 2^n is past any bound, and would end as an overflow
_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds; `tries` counts the first one."""

    first_s: float = 1.0
    most_s: float = 60.0
    tries: int = 7
    patience_s: float = 900.0

    def wait_s(self, attempt: int, random: Random, retry_after_s: float | None = None) -> float | None:
        """The wait after the attempt of this number, from 0; None for: give up."""
        if attempt + 1 >= self.tries:
            return None
        ceiling = min(self.first_s * 2.0 ** min(attempt, _MOST_DOUBLINGS), self.most_s)
        wait = ceiling * (1 + random()) / 2
        if retry_after_s is None:
            return wait
        if retry_after_s > self.patience_s:
            return None
        return max(wait, retry_after_s)


def persist(call: Callable[[], T], backoff: Backoff, *, sleep: Sleep, random: Random) -> T:
    """What `call` returns; the last `ProviderAway` when it was tried often enough. Any other error passes through at once."""
    attempt = 0
    while True:
        try:
            return call()
        except ProviderAway as error:
            retry_after = error.retry_after_s if isinstance(error, RateLimited) else None
            wait = backoff.wait_s(attempt, random, retry_after)
            if wait is None:
                raise
        sleep(wait)
        attempt += 1
