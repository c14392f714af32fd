"""Work in the background that is done again and again, whatever it raises: a database that is away, or a mistake of ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from shared.errors import Unavailable
from shared.logging import get_logger
from shared.metrics import Metrics
from shared.tasks import end_task

__all__ = ["PeriodicTask", "retry_after_s", "running_tasks"]

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 30.0
_log = get_logger("tasks")


class PeriodicTask:
    """Does `work` for as long as the process runs: again `every_s` after it was done, or once `wake` is set.

    A round that raises ends nothing. It is counted, and tried again as `retry_after_s` says; the log tells of the first one that
    fails so (a mistake of ours with its traceback), and of the first one that does not fail any more.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[object]], *, every_s: float, wake: asyncio.Event | None = None
    ) -> None:
        self.name = name
        self.count_failure: Callable[[], object] = lambda: None
        self._work = work
        self._every_s = every_s
        self._wake = wake or asyncio.Event()
        self._error: Exception | None = None
        self._failures = 0

    async def check(self) -> None:
        """For health: Unavailable from a round that failed until one does not."""
        if self._error is not None:
            raise Unavailable(f"{self.name}: {type(self._error).__name__}")

    async def once(self) -> None:
        """A round. Raises nothing."""
        try:
            await self._work()
        except Exception as error:  # noqa: BLE001 - one that ended would do no work any more, and nobody would know
            self._failed(error)
        else:
            if self._failures:
                _log.info("background work goes on", task=self.name, failures=self._failures)
            self._error, self._failures = None, 0

    async def run(self) -> None:
        while True:
            self._wake.clear()
            await self.once()
            if self._failures:
                await asyncio.sleep(retry_after_s(self._failures, self._every_s))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()

    def _failed(self, error: Exception) -> None:
        if type(error) is not type(self._error):
            if isinstance(error, Unavailable):
                _log.warning("background work waits; trying again", task=self.name, why=error.detail)
            else:
                _log.error("background work failed; trying again", task=self.name, exc_info=error)
        self._error, self._failures = error, self._failures + 1
        self.count_failure()


def retry_after_s(failures: int, every_s: float) -> float:
    """After so many failures in a row: half a second, one, two … half a minute; no longer than between rounds that are well."""
    return min(_FIRST_RETRY_S * float(1 << min(failures - 1, 16)), max(every_s, _FIRST_RETRY_S), _LONGEST_RETRY_S)


@asynccontextmanager
async def running_tasks(metrics: Metrics, *tasks: PeriodicTask) -> AsyncIterator[None]:
    """They run while it is open, and have ended when it is closed."""
    failures = metrics.counter("kalpi_task_failures", "Rounds of work in the background that failed", ("task",))
    for task in tasks:
        task.count_failure = failures.labels(task.name).inc
    running = [asyncio.create_task(task.run(), name=task.name) for task in tasks]
    try:
        yield
    finally:
        await asyncio.gather(*map(end_task, running))
