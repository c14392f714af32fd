"""Time-ordered identifiers."""

import os
from collections.abc import Callable
from uuid import UUID

from shared.clock import Clock, system_clock

__all__ = ["IdFactory", "new_id", "uuid7"]

IdFactory = Callable[[], UUID]


def uuid7(clock: Clock, random: Callable[[int], bytes]) -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = int(clock().timestamp() * 1000)
    tail = int.from_bytes(random(10), "big")
    rand_a = tail >> 68
    rand_b = tail & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | ((rand_a & 0xFFF) << 64) | (0b10 << 62) | rand_b)


def new_id() -> UUID:
    return uuid7(system_clock, os.urandom)
