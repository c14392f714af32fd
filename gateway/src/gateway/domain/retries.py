"""How often a request may be sent again, so that a service in trouble is not given twice the work.

A budget in tokens (as Finagle's RetryBudget): each request adds a part of one, each second some, each retry takes a whole one.
So in any interval of τ seconds with n requests there are at most `reserve + ratio·n + per_s·τ` retries.
"""

__all__ = ["RetryBudget", "may_be_repeated"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def may_be_repeated(method: str) -> bool:
    """Those that change nothing (RFC 9110, section 9.2.1). PUT and DELETE are idempotent as well, but of one that was obeyed
    before its answer was lost, a second one would be told that there is nothing to delete."""
    return method in _SAFE


class RetryBudget:
    def __init__(self, *, ratio: float, reserve: float = 10.0, per_s: float = 1.0) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._per_s = per_s
        self._tokens = reserve
        self._filled_at = 0.0

    def add_request(self) -> None:
        self._tokens = min(self._reserve, self._tokens + self._ratio)

    def take(self, now: float) -> bool:
        """Whether one more may be sent again."""
        self._tokens = min(self._reserve, self._tokens + self._per_s * (now - self._filled_at))
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
