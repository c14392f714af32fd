"""How long an answer may keep us waiting for its next piece.

A bound on each wait alone would be kept for ever by a service that sends a byte a second; a bound on the whole would cut off a
large answer that comes steadily. So waiting uses patience up, and bytes give it back.
"""

__all__ = ["SLOWEST", "Patience"]

SLOWEST = 16 << 10
"""Bytes a second that use up as much patience as they give back."""


class Patience:
    """`left_s` is how long the next piece may take; never more than `wait_s`."""

    __slots__ = ("_wait_s", "left_s")

    def __init__(self, wait_s: float) -> None:
        self._wait_s = self.left_s = wait_s

    def came(self, count: int, waited_s: float) -> None:
        """So many bytes, after a wait of at most `left_s`."""
        self.left_s = min(self._wait_s, max(0.0, self.left_s - waited_s) + count / SLOWEST)
