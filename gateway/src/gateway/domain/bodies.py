"""The memory that bodies of requests take while they are held."""

from shared.errors import Unavailable

__all__ = ["SMALL", "BodyRoom", "HeldBody"]

SMALL = 64 << 10
"""What every request may hold: only what is beyond it takes room."""


class BodyRoom:
    """So many bytes for all bodies together: those of whoever comes when there is no room left are refused, not kept waiting."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def take(self, count: int) -> None:
        if count > self._left:
            raise Unavailable("too many large requests at once")
        self._left -= count

    def give_back(self, count: int) -> None:
        self._left += count


class HeldBody:
    """The part of one request, given back with it."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._small = SMALL
        self._taken = 0

    def take(self, count: int) -> None:
        """Unavailable when there is no room for so many bytes more."""
        small = min(count, self._small)
        self._small -= small
        self._room.take(count - small)
        self._taken += count - small

    def give_back(self) -> None:
        self._room.give_back(self._taken)
        self._taken = 0
