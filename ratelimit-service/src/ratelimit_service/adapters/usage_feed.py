"""`kalpi.usage.request.v1`: batches are taken by a durable worker that all ratelimit-services share."""

from ratelimit_service.domain.intake import Intake, UnfitBatch
from shared.events import EventBus, Fact, RejectedFact
from shared.metrics import Metrics
from shared.subjects import USAGE_STREAM, USAGE_SUBJECT

__all__ = ["UsageFeed"]

_WORKER = "ratelimit-usage"
_ACK_WAIT_S = 60
"""Longer than a transaction may take."""
_REST_S = 1.0
"""What comes meanwhile is one transaction, which takes the same number of statements whatever is in it."""


class UsageFeed:
    def __init__(self, bus: EventBus, intake: Intake, metrics: Metrics) -> None:
        self._bus = bus
        self._intake = intake
        self._unfit = metrics.counter("kalpi_ratelimit_usage_unfit", "Batches of requests that were dead-lettered as unfit")

    def start(self) -> None:
        self._bus.work(USAGE_STREAM, [USAGE_SUBJECT], _WORKER, self._on_batch, ack_wait_s=_ACK_WAIT_S, rest_s=_REST_S)

    async def _on_batch(self, fact: Fact) -> None:
        try:
            await self._intake.take(fact.id, fact.data)
        except UnfitBatch as error:
            self._unfit.inc()
            raise RejectedFact(str(error)) from error
