"""One process leads among those that share a state folder: it takes the live bars, and tells of every change."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from nats.errors import Error as NatsError

from data_service.adapters.dataset import Dataset
from data_service.adapters.nats import BarFacts
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["keep_in_memory", "lead"]

_LOOK_S = 0.05
_RETRY_S = 1.0
_log = get_logger("leading")


async def lead(folder: Path, dataset: Dataset, facts: BarFacts, start_feed: Callable[[], None]) -> None:
    """Waits until it is this process's turn, then leads for as long as it lives."""
    async with _leadership(folder):
        _log.info("this process takes the live bars")
        await _insist(facts.lead)
        start_feed()
        told = -1
        while True:
            # an import by another process, or by the command, is a new generation like one of ours
            generation = dataset.generation
            if generation != told:
                await _insist(facts.announce_changed)
                told = generation
            await asyncio.sleep(_LOOK_S)


async def keep_in_memory(dataset: Dataset) -> None:
    """In every process: the newest bars are in memory before somebody asks for them, and the old ones are let go."""
    kept = -1
    while True:
        if dataset.generation != kept:
            await asyncio.to_thread(dataset.touch)
            kept = dataset.generation
        await asyncio.sleep(_LOOK_S)


async def _insist(tell: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await tell()
        except (Unavailable, NatsError, OSError) as error:
            _log.warning("changes are not announced yet", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)
        else:
            return


@asynccontextmanager
async def _leadership(folder: Path) -> AsyncIterator[None]:
    """The lock of a file in the folder: the kernel gives it to the next when its process dies, however it dies."""
    with (folder / "leader.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOOK_S)
            else:
                break
        yield
