"""Time-ordered identifiers."""

import os
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from shared.clock import Clock, system_clock

__all__ = ["IdFactory", "new_id", "new_id_text", "uuid7"]

IdFactory = Callable[[], UUID]
_DRAWN = 256
"""Ids whose random bits are drawn at a time."""


def uuid7(clock: Clock, random: Callable[[int], bytes]) -> UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = int(clock().timestamp() * 1000)
    tail = int.from_bytes(random(10), "big")
    rand_a = tail >> 68
    rand_b = tail & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | ((rand_a & 0xFFF) << 64) | (0b10 << 62) | rand_b)


def new_id() -> UUID:
    return uuid7(system_clock, os.urandom)


def new_id_text() -> str:
    """As `str(new_id())`, for what is named on every request: in a tenth of the time, and two random bits fewer.

    By the event loop alone.
    """
    return next(_texts)


def _new_texts() -> Iterator[str]:
    """Each of the time at which it is asked for."""
    at, moment = -1, ""
    while True:
        drawn = os.urandom(9 * _DRAWN).hex()
        for place in range(0, len(drawn), 18):
            tail = drawn[place : place + 18]
            now = time.time_ns() // 1_000_000
            if now != at:
                at, moment = now, f"{now >> 16:08x}-{now & 0xFFFF:04x}-7"
            yield f"{moment}{tail[:3]}-a{tail[3:6]}-{tail[6:]}"


_texts = _new_texts()
