"""Waiting for something to become true, with a deadline instead of a sleep."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, seconds: float = 25.0, every_s: float = 0.02, what: str = "") -> T:
    """The first truthy answer of `look`; AssertionError at the deadline.

    That is for machines that are busy, and below the half minute after which services look by themselves for what they were told.
    """
    deadline = time.monotonic() + seconds
    while True:
        if answer := await look():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or look}"
        await asyncio.sleep(every_s)
