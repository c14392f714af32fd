"""The memory that bodies of requests take while they are held."""

from collections import Counter

from gateway.domain.errors import TooLargeAtOnce
from shared.errors import Unavailable

__all__ = ["SMALL", "BodyRoom", "HeldBody"]

SMALL = 64 << 10
"""What every request may hold: only what is beyond it takes room."""


class BodyRoom:
    """So many bytes for all bodies together, and half of them for those of one account: what comes when there is no room left is
    refused, not kept waiting."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._share = max_bytes // 2
        self._taken: Counter[str] = Counter()

    def take(self, account: str, count: int) -> None:
        """TooLargeAtOnce beyond the account's share, Unavailable beyond the room."""
        if self._taken[account] + count > self._share:
            raise TooLargeAtOnce(self._share)
        if count > self._left:
            raise Unavailable("too many large requests at once")
        self._left -= count
        self._taken[account] += count

    def give_back(self, account: str, count: int) -> None:
        self._left += count
        self._taken[account] -= count
        if not self._taken[account]:
            del self._taken[account]


class HeldBody:
    """The part of one request, given back with it. `account` is who pays for it, once that is known."""

    def __init__(self, room: BodyRoom) -> None:
        self.account = ""
        self._room = room
        self._small = SMALL
        self._taken = 0

    def take(self, count: int) -> None:
        """Raises as the room does when there is none for so many bytes more."""
        small = min(count, self._small)
        self._small -= small
        if large := count - small:
            self._room.take(self.account, large)
            self._taken += large

    def give_back(self) -> None:
        if self._taken:
            self._room.give_back(self.account, self._taken)
            self._taken = 0
