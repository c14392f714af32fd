"""Ending a task for certain."""

import asyncio
from typing import Any

__all__ = ["end_task"]


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancels it and returns once it has ended, however it ended.

    Again and again: in Python 3.11 `asyncio.wait_for` swallows a cancellation that comes together with its result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
