"""Work in the background goes on whatever it raises; what fails is counted, told once, and seen by health."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shared.errors import Unavailable
from shared.metrics import Metrics
from shared.periodic import PeriodicTask, retry_after_s, running_tasks
from tests.support.poll import until

MISTAKE = ValueError("a mistake of ours")
ERRORS = pytest.mark.parametrize("error", [Unavailable("away"), MISTAKE], ids=lambda error: type(error).__name__)


class Work:
    """Raises `error` where it is given one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.rounds = 0

    async def __call__(self) -> None:
        self.rounds += 1
        if self.error is not None:
            raise self.error

    async def done(self, rounds: int) -> None:
        async def enough() -> bool:
            return self.rounds >= rounds

        await until(enough, every_s=0.001, what=f"{rounds} rounds")


@ERRORS
async def test_work_that_fails_is_counted_and_done_again_until_it_does_not(error: Exception) -> None:
    work, metrics = Work(error), Metrics("test")
    async with running_tasks(metrics, PeriodicTask("sweeping", work, every_s=0.001)):
        await work.done(2)
        work.error = None
        failed = work.rounds
        await work.done(failed + 3)
    assert metrics.registry.get_sample_value("kalpi_task_failures_total", {"task": "sweeping"}) == failed


@ERRORS
async def test_it_is_not_well_from_a_round_that_failed_until_one_does_not(error: Exception) -> None:
    work = Work()
    task = PeriodicTask("sweeping", work, every_s=1)
    await task.check()
    for failing in (True, True, False, True):
        work.error = error if failing else None
        await task.once()
        if failing:
            with pytest.raises(Unavailable, match=f"sweeping: {type(error).__name__}"):
                await task.check()
        else:
            await task.check()


async def test_the_log_tells_of_the_first_failure_of_a_kind_and_of_its_end() -> None:
    work = Work(Unavailable("away"))
    task = PeriodicTask("sweeping", work, every_s=1)
    with capture_logs() as logs:
        for error in (Unavailable("away"), Unavailable("away"), MISTAKE, MISTAKE, None, None):
            work.error = error
            await task.once()
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("warning", "background work waits; trying again"),
        ("error", "background work failed; trying again"),
        ("info", "background work goes on"),
    ]
    assert logs[1]["exc_info"] is MISTAKE
    assert logs[2]["failures"] == 4


async def test_it_is_done_at_once_when_it_is_woken() -> None:
    work, wake = Work(), asyncio.Event()
    async with running_tasks(Metrics("test"), PeriodicTask("relay", work, every_s=3600, wake=wake)):
        await work.done(1)
        wake.set()
        await work.done(2)


async def test_what_wakes_it_while_it_is_at_work_is_looked_at_afterwards() -> None:
    wake, begun, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    rounds = itertools.count()

    async def work() -> None:
        if next(rounds) == 1:
            begun.set()
        await go_on.wait()

    async with running_tasks(Metrics("test"), PeriodicTask("relay", work, every_s=3600, wake=wake)):
        await asyncio.sleep(0)
        wake.set()
        go_on.set()
        await asyncio.wait_for(begun.wait(), 10)


async def test_it_has_ended_when_its_service_has() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running_tasks(Metrics("test"), PeriodicTask("relay", work, every_s=1)):
        await asyncio.sleep(0)
    assert ended.is_set()


@given(st.integers(1, 10_000), st.floats(0.001, 86_400))
def test_it_waits_longer_after_each_failure_but_half_a_minute_at_most_and_no_longer_than_for_the_next_round(
    failures: int, every_s: float
) -> None:
    pause_s = retry_after_s(failures, every_s)
    assert 0.5 <= pause_s <= min(max(every_s, 0.5), 30)
    assert retry_after_s(failures + 1, every_s) >= pause_s


def test_what_is_done_each_hour_is_tried_again_soon_and_then_more_seldom() -> None:
    assert [retry_after_s(failures, 3600) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
