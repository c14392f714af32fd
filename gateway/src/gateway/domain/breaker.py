"""When an instance of a service is no longer asked, and when it is again. `now` is seconds, by a clock that never goes back.

    closed      asked. Opens once at least `failures` of what ended within `window_s` failed, and that is at least `share` of it
    open        not asked for `open_s`
    half-open   asked once each `open_s`: the first answer closes it, a failure opens it again

What was asked before the last change of state says nothing about the instance since: it is not counted.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Breaker", "BreakerRules", "State"]

State = Literal["closed", "half-open", "open"]


@dataclass(frozen=True, slots=True)
class BreakerRules:
    failures: int = 5
    share: float = 0.5
    window_s: float = 10.0
    open_s: float = 1.0


class _Window:
    """What ended in the last `window_s`, or a part of it: time is cut into halves of it, and this one and the last one count."""

    def __init__(self, window_s: float) -> None:
        self._half_s = window_s / 2
        self.clear()

    def clear(self) -> None:
        self._half = 0
        self._ended = self._failed = self._ended_before = self._failed_before = 0

    def add(self, now: float, *, failed: bool) -> None:
        half = int(now // self._half_s)
        if half != self._half:
            follows = half == self._half + 1
            self._ended_before = self._ended if follows else 0
            self._failed_before = self._failed if follows else 0
            self._half, self._ended, self._failed = half, 0, 0
        self._ended += 1
        self._failed += failed

    @property
    def failed(self) -> int:
        return self._failed_before + self._failed

    @property
    def share(self) -> float:
        return self.failed / (self._ended_before + self._ended)


class Breaker:
    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._window = _Window(rules.window_s)
        self._era = 0
        self._closed = True
        self._probe_at = 0.0
        self._probing = False

    def state(self, now: float) -> State:
        if self._closed:
            return "closed"
        return "half-open" if self._probing or now >= self._probe_at else "open"

    def admits(self, now: float) -> bool:
        return self._closed or now >= self._probe_at

    def admits_in(self, now: float) -> float:
        """Seconds until it does, as far as is known."""
        return 0.0 if self._closed else max(0.0, self._probe_at - now)

    def enter(self, now: float) -> int:
        """For a request that was admitted; `leave` takes what it returns. One that never leaves blocks nothing for long."""
        if not self._closed:
            self._probing = True
            self._probe_at = now + self._rules.open_s
        return self._era

    def leave(self, era: int, now: float, *, failed: bool) -> None:
        if era != self._era:
            return
        if not self._closed:
            self._set(closed=not failed, now=now)
            return
        self._window.add(now, failed=failed)
        if failed and self._window.failed >= self._rules.failures and self._window.share >= self._rules.share:
            self._set(closed=False, now=now)

    def _set(self, *, closed: bool, now: float) -> None:
        self._era += 1
        self._closed = closed
        self._probing = False
        self._probe_at = now + self._rules.open_s
        self._window.clear()
