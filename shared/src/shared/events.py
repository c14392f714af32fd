"""Facts on NATS JetStream: one envelope, a publisher, a follower for caches and a worker for durable work.

A follower is one ephemeral consumer per process: it sees every fact while it lives, and calls `on_gap` whenever it may have
missed one (first start, reconnection, lost consumer), so that whoever caches can forget. A worker shares a durable consumer with
its replicas: each fact is handled by one of them. While what its handler needs is away (Unavailable) it waits; when the handler
fails otherwise, or the process ends, it comes again, and after `MAX_DELIVERIES` it is dead-lettered, for it may be what ends
processes; one that is rejected is so at once.

Followers and workers try again for ever: when NATS has lost a stream, they go on once its publisher has made it again
(`shared.streams`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NoStreamResponseError
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import IdFactory
from shared.logging import get_logger
from shared.streams import OUTAGES, Hook, Streams, report
from shared.subjects import DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECTS
from shared.tasks import end_task
from shared.telemetry import inject_context

__all__ = ["DeliverPolicy", "EventBus", "Fact", "Follower", "Handler", "RejectedFact"]

MAX_DELIVERIES = 5
_FETCH_S = 5.0
_FETCHED = 64
_RETRY_S = 0.5
_log = get_logger("events")


class Fact(BaseModel):
    """The envelope. `type` is the subject; `data` is the fact itself."""

    model_config = ConfigDict(frozen=True)
    id: UUID
    type: str
    version: int = 1
    occurred_at: datetime
    traceparent: str | None = None
    data: dict[str, Any]


Handler = Callable[[Fact], Awaitable[None]]


class RejectedFact(Exception):
    """Raised by a worker's handler for a fact that can never be handled: dead-lettered at once."""


class EventBus:
    def __init__(self, url: str, *, service: str, clock: Clock, new_id: IdFactory) -> None:
        self._url = url
        self._service = service
        self._clock = clock
        self._new_id = new_id
        self._nats = Client()
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def __aenter__(self) -> Self:
        await self._nats.connect(
            self._url,
            name=self._service,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
        )
        self._js = self._nats.jetstream(timeout=2.0)
        self.streams = Streams(self._js)
        self._tasks.append(asyncio.create_task(self.streams.keep(lambda: self.connected), name="keep streams"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing = True
        await asyncio.gather(*map(end_task, self._tasks))
        if not self._nats.is_connected:
            # there is nobody to send it to, and nats-py, stumbling over the lost transport, would leave its socket open
            self._nats._pending, self._nats._pending_data_size = [], 0  # noqa: SLF001 - no public way to drop it
        with suppress(NatsError, OSError):
            await self._nats.close()

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def jetstream(self) -> JetStreamContext:
        return self._js

    @property
    def client(self) -> Client:
        return self._nats

    @property
    def connected(self) -> bool:
        return self._nats.is_connected

    async def check(self) -> None:
        """For health: raises when NATS does not answer, or has lost a stream that this process declared."""
        await self._nats.flush(timeout=1)
        await self.streams.check()

    async def publish(
        self, subject: str, data: dict[str, Any], *, fact_id: UUID | None = None, occurred_at: datetime | None = None
    ) -> Fact:
        """Returns once JetStream has acknowledged, else raises `Unavailable`; an id repeated within two minutes is harmless."""
        trace: dict[str, str] = {}
        inject_context(trace)
        fact = Fact(
            id=fact_id or self._new_id(),
            type=subject,
            occurred_at=occurred_at or self._clock(),
            traceparent=trace.get("traceparent"),
            data=data,
        )
        body = orjson.dumps(fact.model_dump(mode="json"))
        try:
            await self._send(subject, body, {"Nats-Msg-Id": str(fact.id)})
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"a fact could not be published ({type(error).__name__})") from error
        return fact

    async def _send(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            await self._js.publish(subject, body, headers=headers)
        except NoStreamResponseError:
            await self.streams.mend()
            await self._js.publish(subject, body, headers=headers)

    def follow(
        self,
        stream: str,
        subjects: Sequence[str],
        handler: Handler,
        *,
        on_gap: Hook,
        deliver: DeliverPolicy = DeliverPolicy.NEW,
    ) -> "Follower":
        """Starts a follower; `deliver=LAST_PER_SUBJECT` replays the newest fact of each subject after every gap."""
        follower = Follower(self, stream=stream, subjects=subjects, handler=handler, on_gap=on_gap, deliver=deliver)
        self._followers.append(follower)
        self._tasks.append(asyncio.create_task(follower.run(), name=f"follow {stream}"))
        return follower

    def work(
        self,
        stream: str,
        subjects: Sequence[str],
        durable: str,
        handler: Handler,
        *,
        ack_wait_s: float = 30,
        rest_s: float = 0,
    ) -> None:
        """Starts a worker on the durable consumer `durable`.

        What a process that died had taken comes again after `ack_wait_s`; no batch may take that long, and no round of one that
        waits. After a batch that was not full it rests for `rest_s`, so that facts that come often are handled together.
        """
        work = self._work(stream, subjects, durable, handler, ack_wait_s, rest_s)
        self._tasks.append(asyncio.create_task(work, name=f"work {durable}"))

    async def _work(
        self,
        stream: str,
        subjects: Sequence[str],
        durable: str,
        handler: Handler,
        ack_wait_s: float,
        rest_s: float,
    ) -> None:
        config = ConsumerConfig(
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_s,
            # we count ourselves: a fact whose dead letter could not be written must come again
            max_deliver=-1,
        )
        # nats-py may answer a cancellation with an error of its own, so every loop also looks whether the bus is closing
        while not self._closing:
            try:
                await self._js.add_consumer(stream, config)
                consumer = await self._js.pull_subscribe_bind(consumer=durable, stream=stream)
                try:
                    while not self._closing:
                        # side by side, begun in order: a handler that waits may so do once what many need
                        batch = [self._deliver(message, durable, handler) for message in await _fetch(consumer)]
                        for outcome in await asyncio.gather(*batch, return_exceptions=True):
                            if isinstance(outcome, BaseException):
                                raise outcome
                        if len(batch) < _FETCHED:
                            await asyncio.sleep(rest_s)
                finally:
                    await _close(consumer)
            except Exception as error:  # noqa: BLE001 - a worker that ended would leave its facts lying, and nobody would know
                report("worker interrupted", error, durable=durable)
                await asyncio.sleep(_RETRY_S)

    async def _deliver(self, message: Msg, durable: str, handler: Handler) -> None:
        fact = _parse(message)
        deliveries = message.metadata.num_delivered or 1
        if fact is None or deliveries > MAX_DELIVERIES:
            await self._dead_letter(message, durable)
            return
        try:
            await _handle(message, fact, handler)
        except RejectedFact as verdict:
            _log.warning("fact rejected", durable=durable, subject=message.subject, why=str(verdict))
            await self._dead_letter(message, durable)
        except Exception:  # noqa: BLE001 - see the next line
            # Whatever a handler raises, the fact is kept: it comes again, and after MAX_DELIVERIES it is dead-lettered.
            _log.exception("fact not handled", durable=durable, subject=message.subject, delivery=deliveries)
            await message.nak(delay=min(0.2 * 2**deliveries, 10))
        else:
            await message.ack()

    async def _dead_letter(self, message: Msg, durable: str) -> None:
        if DEAD_LETTER_STREAM not in self.streams:
            await self.streams.declare(DEAD_LETTER_STREAM, [DEAD_LETTER_SUBJECTS], max_age_s=30 * 86400, max_bytes=256 << 20)
        await self._send(f"kalpi.dlq.{durable}", message.data, {"Kalpi-Subject": message.subject})
        await message.term()

    async def _on_error(self, error: Exception) -> None:
        _log.warning("nats", error=f"{type(error).__name__}: {error}")

    async def _on_disconnected(self) -> None:
        # and not only at the reconnection: nats-py is connected again a moment before it says so
        for follower in self._followers:
            follower.lose()

    async def _on_reconnected(self) -> None:
        for follower in self._followers:
            follower.restart()
        # by the task that keeps them: nats-py awaits us, and would take our error for one of the connection
        self.streams.look()


class Follower:
    """See the module's docstring. `current` is true while no fact can have been missed."""

    def __init__(
        self,
        bus: EventBus,
        *,
        stream: str,
        subjects: Sequence[str],
        handler: Handler,
        on_gap: Hook,
        deliver: DeliverPolicy,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subjects = list(subjects)
        self._handler = handler
        self._on_gap = on_gap
        self._deliver = deliver
        self._caught_up = False
        self._life = 0
        self._again = asyncio.Event()

    @property
    def current(self) -> bool:
        return self._caught_up and self._bus.connected

    def lose(self) -> None:
        """From here on a fact may be missed, whatever the present consumer still delivers."""
        self._caught_up = False
        self._life += 1

    def restart(self) -> None:
        self.lose()
        self._again.set()

    async def run(self) -> None:
        while not self._bus.closing:
            self._again.clear()
            consuming = asyncio.create_task(self._consume(self._life))
            again = asyncio.create_task(self._again.wait())
            try:
                await asyncio.wait({consuming, again}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end_task(again)
                await end_task(consuming)
                await asyncio.gather(consuming, return_exceptions=True)
            if not consuming.cancelled() and (error := consuming.exception()):
                if not isinstance(error, OUTAGES):
                    report("follower failed", error, stream=self._stream)
                await asyncio.sleep(_RETRY_S)

    async def _consume(self, life: int) -> None:
        js = self._bus.jetstream
        config = ConsumerConfig(
            deliver_policy=self._deliver,
            filter_subjects=self._subjects,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
        )
        info = await js.add_consumer(self._stream, config)
        consumer = await js.pull_subscribe_bind(consumer=info.name, stream=self._stream)
        # a request whose consumer is gone ends at its time-out only, for nats-py does not pass on what the server says of it
        deleted = f"$JS.EVENT.ADVISORY.CONSUMER.DELETED.{self._stream}.{info.name}"
        watch = await self._bus.client.subscribe(deleted, cb=self._on_deleted)
        try:
            await self._on_gap()
            pending = info.num_pending or 0
            while life == self._life and not self._bus.closing:
                self._caught_up = self._caught_up or pending <= 0
                for message in await _fetch(consumer):
                    if (fact := _parse(message)) is not None:
                        await self._handler(fact)
                    pending -= 1
        finally:
            self._caught_up = False
            await asyncio.shield(_close(watch, consumer))

    async def _on_deleted(self, _advisory: Msg) -> None:
        self.restart()


async def _handle(message: Msg, fact: Fact, handler: Handler) -> None:
    """Patiently: an outage of what the handler needs is no reason to give a fact up. Nobody else is given it meanwhile."""
    waits = False
    while True:
        try:
            await handler(fact)
        except Unavailable as error:
            if not waits:
                report("a fact waits", error, subject=message.subject, why=error.detail)
                waits = True
            await message.in_progress()
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _fetch(consumer: Any) -> list[Msg]:
    try:
        messages: list[Msg] = await consumer.fetch(_FETCHED, timeout=_FETCH_S)
    except TimeoutError:
        return []
    return messages


async def _close(*subscriptions: Any) -> None:
    for subscription in subscriptions:
        with suppress(NatsError):
            await subscription.unsubscribe()


def _parse(message: Msg) -> Fact | None:
    try:
        return Fact.model_validate_json(message.data)
    except ValidationError:
        _log.warning("not a fact", subject=message.subject)
        return None
