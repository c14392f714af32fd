"""Tasks in the background: ending one for certain, and saying so when one ends by itself."""

import asyncio
from typing import Any

from shared.logging import get_logger

__all__ = ["end_task", "log_failure"]

_log = get_logger("tasks")


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancels it and returns once it has ended, however it ended.

    Again and again: in Python 3.11 `asyncio.wait_for` swallows a cancellation that comes together with its result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


def log_failure(task: "asyncio.Task[Any]") -> None:
    """For `add_done_callback` of a task that is to run for ever."""
    if not task.cancelled() and (error := task.exception()):
        _log.error("a task ended", task=task.get_name(), exc_info=error)
