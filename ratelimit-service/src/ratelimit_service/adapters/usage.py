"""The part of ratelimit-service that takes request events: its connections, its worker, and its partitions."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ratelimit_service.adapters.partitions import PostgresPartitions
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_feed import UsageFeed
from ratelimit_service.adapters.usage_ledger import PostgresLedger
from ratelimit_service.domain.intake import Intake
from ratelimit_service.domain.partitions import Schedule
from ratelimit_service.domain.sampling import Sampler
from shared.clock import Clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.logging import get_logger
from shared.metrics import Metrics
from shared.tasks import end_task, log_failure

__all__ = ["taking_usage"]

_LOOK_S = 3600.0
_RETRY_S = 1.0
_log = get_logger("usage")


@asynccontextmanager
async def taking_usage(
    bus: EventBus, database: PostgresDatabase, metrics: Metrics, clock: Clock, *, kept: Sequence[Schedule], log_per_s: float
) -> AsyncIterator[None]:
    """Takes batches from when there are partitions for them."""
    taken = metrics.counter("kalpi_ratelimit_usage_events", "Request events that were taken")
    sampler = Sampler(log_per_s, time.monotonic, random.random)
    intake = Intake(PostgresLedger(database.connection), sampler, clock, taken=taken.inc)
    feed = UsageFeed(bus, intake, metrics)
    partitions = PostgresPartitions(database.connection, kept)
    keeping = asyncio.create_task(_keep(partitions, feed, clock), name="keep partitions")
    keeping.add_done_callback(log_failure)
    try:
        yield
    finally:
        await end_task(keeping)


async def _keep(partitions: PostgresPartitions, feed: UsageFeed, clock: Clock) -> None:
    await _keep_once(partitions, clock)
    feed.start()
    while True:
        await asyncio.sleep(_LOOK_S)
        await _keep_once(partitions, clock)


async def _keep_once(partitions: PostgresPartitions, clock: Clock) -> None:
    while True:
        try:
            await partitions.keep(clock().date())
        except Unavailable as error:
            _log.warning("partitions not looked after; trying again", detail=error.detail)
            await asyncio.sleep(_RETRY_S)
        else:
            return
