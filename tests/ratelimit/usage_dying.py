"""A process that takes batches as ratelimit-service does, and is killed at a chosen step of their way.

`python -m tests.ratelimit.usage_dying DATABASE_URL NATS_URL` has a child for each step, one after the other, each with batches of
its own to take, and prints the id of every batch that was sent.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.msg import Msg

import shared.events
from ratelimit_service.adapters import usage_feed
from ratelimit_service.adapters.usage_feed import UsageFeed
from ratelimit_service.adapters.usage_ledger import PostgresEntry, PostgresLedger
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.metrics import Metrics
from shared.subjects import USAGE_STREAM, USAGE_SUBJECT
from tests.ratelimit.usage_world import Asked, batch_of, usage_store

Work = Callable[..., Awaitable[Any]]
STEPS = ("fetched", "noted", "added", "units", "seen", "logged", "committed", "before ack", "after ack")
BATCHES, EVENTS = 4, 25
_NTH = 2
"""The first of each step lives: some are taken before the kill."""
ACK_WAIT_S = 0.5


def die_at(step: str) -> None:
    times = itertools.count(1)

    def reach(now: str) -> None:
        if now == step and next(times) == _NTH:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(before: str, work: Work, after: str) -> Work:
        async def run(*arguments: Any, **named: Any) -> Any:
            reach(before)
            done = await work(*arguments, **named)
            reach(after)
            return done

        return run

    entry = PostgresLedger.entry

    @asynccontextmanager
    async def committed(self: PostgresLedger) -> Any:
        async with entry(self) as opened:
            yield opened
        reach("committed")

    setattr(PostgresLedger, "entry", committed)  # noqa: B010
    setattr(UsageFeed, "_on_batch", around("fetched", UsageFeed._on_batch, ""))  # noqa: B010 - as the others
    setattr(Msg, "ack", around("before ack", Msg.ack, "after ack"))  # noqa: B010
    for name, after in (("new", "noted"), ("add", "added"), ("add_units", "units"), ("see", "seen"), ("log", "logged")):
        setattr(PostgresEntry, name, around("", getattr(PostgresEntry, name), after))


def patient() -> None:
    """What is killed so often must not be given up, and is not waited for long.

    A few are taken at a time: together, the batches of this process and of those before it would be one transaction, which comes
    to each of its steps once.
    """
    shared.events.MAX_DELIVERIES = 1000
    shared.events._FETCHED = BATCHES // _NTH
    usage_feed._ACK_WAIT_S = ACK_WAIT_S  # type: ignore[assignment]


async def live(database_url: str, nats_url: str, step: str) -> None:
    patient()
    die_at(step)
    async with (
        usage_store(database_url, system_clock()) as store,
        EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus,
    ):
        await bus.streams.declare(USAGE_STREAM, [USAGE_SUBJECT], max_age_s=3600, max_bytes=8 << 20, work_queue=True)
        for _ in range(BATCHES):
            fact = await bus.publish(USAGE_SUBJECT, batch_of([Asked(at=system_clock())] * EVENTS))
            sys.stdout.write(f"{fact.id}\n")
            sys.stdout.flush()
        UsageFeed(bus, store.intake, Metrics("test")).start()
        await asyncio.Event().wait()


def main(database_url: str, nats_url: str) -> None:
    for step in STEPS:
        pid = os.fork()
        if pid == 0:
            asyncio.run(live(database_url, nats_url, step))
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"not killed: {step}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
