"""Request events on their way to JetStream: batches by size and by time, kept while NATS is away, sent on before the end."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from gateway.domain.request_batches import batch_of
from gateway.domain.request_buffer import RECORD_BYTES, RequestBuffer
from gateway.domain.requests import Recorder, RequestRecord
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import IdFactory
from shared.logging import get_logger
from shared.metrics import Metrics
from shared.subjects import USAGE_STREAM, USAGE_SUBJECT

__all__ = ["RequestEvents"]

_WEEK_S = 7 * 86_400
EVERY_S = 0.25
_RETRY_S = 0.5
FLUSH_S = 5.0
"""The longest that an end waits for what is still to be sent."""
_log = get_logger("usage")


class _Batch(NamedTuple):
    """One that is to be sent until it is acknowledged, under this id."""

    id: UUID
    data: dict[str, object]
    records: Sequence[RequestRecord]


class RequestEvents:
    """`record` takes each request; `run` sends them on, `flush` what is left.

    A batch that was not acknowledged is sent again under the same id, so it counts once; meanwhile records gather, and what goes
    beyond the room is dropped and counted (`kalpi_gateway_request_events_dropped`).
    """

    def __init__(self, bus: EventBus, metrics: Metrics, new_id: IdFactory, *, most_bytes: int, stream_bytes: int) -> None:
        self._bus = bus
        self._new_id = new_id
        self._stream_bytes = stream_bytes
        self._sent = metrics.counter("kalpi_gateway_request_events_sent", "Request events that JetStream has taken")
        dropped = metrics.counter("kalpi_gateway_request_events_dropped", "Request events that were not sent", ("outcome",))
        self._dropped = {outcome: dropped.labels(outcome) for outcome in ("served", "refused")}
        self._wake = asyncio.Event()
        self._buffer = RequestBuffer(most_bytes // RECORD_BYTES, full_batch=self._wake.set, on_drop=self._count_dropped)
        self._sending: _Batch | None = None
        self._away = False
        self.record: Recorder = self._buffer.add

    async def declare(self) -> None:
        """The stream, which holds what is not counted yet; ratelimit-service is its one worker."""
        await self._bus.streams.declare(
            USAGE_STREAM, [USAGE_SUBJECT], max_age_s=_WEEK_S, max_bytes=self._stream_bytes, work_queue=True
        )

    async def run(self) -> None:
        """For as long as the gateway runs."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            self._wake.clear()
            await self._send_all()

    async def flush(self) -> None:
        """After `run` has ended and the last request was answered: sends the rest, or counts it as dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._send_all()
        left = self._sending.records if self._sending is not None else self._buffer.take()
        while left:
            _log.error("request events lost at the end", events=len(left))
            self._buffer.drop(left)
            left = self._buffer.take()

    async def _send_all(self) -> None:
        """Returns once nothing is left, however long NATS is away or has no room."""
        while self._sending is not None or len(self._buffer):
            if self._sending is None:
                records = self._buffer.take()
                data = batch_of(records, self._buffer.take_lost())
                self._sending = _Batch(self._new_id(), data, records)
            try:
                await self._bus.publish(USAGE_SUBJECT, self._sending.data, fact_id=self._sending.id)
            except Unavailable as error:
                if not self._away:
                    _log.warning("request events wait", why=error.detail)
                self._away = True
                await asyncio.sleep(_RETRY_S)
                continue
            self._sent.inc(len(self._sending.records))
            self._sending, self._away = None, False

    def _count_dropped(self, record: RequestRecord) -> None:
        self._dropped["served" if record.call.status < 400 else "refused"].inc()
