"""The part of ratelimit-service that takes request events: its worker, and its partitions."""

import random
import time
from collections.abc import Sequence

from ratelimit_service.adapters.partitions import PostgresPartitions
from ratelimit_service.adapters.usage_feed import UsageFeed
from ratelimit_service.adapters.usage_ledger import PostgresLedger
from ratelimit_service.domain.intake import Intake
from ratelimit_service.domain.partitions import Schedule
from ratelimit_service.domain.sampling import Sampler
from shared.clock import Clock
from shared.events import EventBus
from shared.metrics import Metrics
from shared.postgres import Begin

__all__ = ["UsageTaking"]


class UsageTaking:
    """Batches are taken from when there are partitions for them."""

    def __init__(
        self, bus: EventBus, begin: Begin, metrics: Metrics, clock: Clock, *, kept: Sequence[Schedule], log_per_s: float
    ) -> None:
        taken = metrics.counter("kalpi_ratelimit_usage_events", "Request events that were taken")
        sampler = Sampler(log_per_s, time.monotonic, random.random)
        intake = Intake(PostgresLedger(begin), sampler, clock, taken=taken.inc)
        self._feed = UsageFeed(bus, intake, metrics)
        self._partitions = PostgresPartitions(begin, kept)
        self._clock = clock
        self._takes = False

    async def keep_partitions(self) -> None:
        """Those that will be needed; the first time, batches are taken from then on. Unavailable."""
        await self._partitions.keep(self._clock().date())
        if not self._takes:
            self._feed.start()
            self._takes = True
