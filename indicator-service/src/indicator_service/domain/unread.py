"""The memory of answers that their readers do not have yet: whoever reads slowly, or not at all, takes no more of it."""

from collections import Counter
from types import TracebackType
from typing import Self

from indicator_service.domain.errors import TooMuchUnread
from shared.errors import Unavailable

__all__ = ["FREE", "Unread", "UnreadRoom"]

FREE = 64 << 10
"""What every answer may be: only what is beyond it takes room."""


class UnreadRoom:
    """So many bytes for all answers together, and half of them for those of one account: what comes when there is no room left
    is refused, not kept waiting."""

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes
        self._share = max_bytes // 2
        self._taken: Counter[str] = Counter()

    def take(self, account: str, count: int) -> None:
        """TooMuchUnread beyond the account's share, Unavailable beyond the room."""
        if self._taken[account] + count > self._share:
            raise TooMuchUnread(self._share)
        if count > self.left:
            raise Unavailable("too many large answers are being read", 5)
        self.change(account, count)

    def change(self, account: str, count: int) -> None:
        """By so many, which may be negative; what is so already is not refused."""
        self.left -= count
        self._taken[account] += count
        if not self._taken[account]:
            del self._taken[account]


class Unread:
    """The part of one answer of an account; as a context it is given back at the end."""

    def __init__(self, room: UnreadRoom, account: str) -> None:
        self._room = room
        self._account = account
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.settle(0)

    def reach(self, length: int) -> None:
        """Before it is made so long. Raises as the room does when there is none."""
        beyond = _beyond(length) - _beyond(self._length)
        if beyond > 0:
            self._room.take(self._account, beyond)
            self._length = length

    def settle(self, length: int) -> None:
        """What it came to be."""
        self._room.change(self._account, _beyond(length) - _beyond(self._length))
        self._length = length


def _beyond(length: int) -> int:
    return max(0, length - FREE)
