"""A timer that is moved on at each request and seldom stopped."""

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ["LazyTimer"]


class LazyTimer:
    """Calls `ring` once it is due, by the loop's clock.

    Put off, the loop's own timer goes on, and looks at its end whether it was: to start and stop some for each request would take
    as long as to read its answer.
    """

    __slots__ = ("_due", "_handle", "_handle_at", "_loop", "_ring")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._due = inf
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = inf

    def set(self, due: float) -> None:
        self._due = due
        if due < self._handle_at:
            self._start(due)

    def clear(self) -> None:
        """Until it is set again."""
        self._due = inf

    def stop(self) -> None:
        """For good."""
        self._due = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _start(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(at, self._look)
        self._handle_at = at

    def _look(self) -> None:
        self._handle, self._handle_at = None, inf
        if self._loop.time() >= self._due:
            self._due = inf
            self._ring()
        elif self._due < inf:
            self._start(self._due)
