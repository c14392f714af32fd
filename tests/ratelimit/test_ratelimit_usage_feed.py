"""Batches on the real NATS and Postgres: none is lost or counted twice, whoever is killed or wiped; poison is put off."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from nats.js.errors import NotFoundError

import shared.events
from kalpi_local.servers import Nats
from ratelimit_service.adapters import usage_feed
from ratelimit_service.adapters.usage_feed import UsageFeed
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id
from shared.metrics import Metrics
from shared.subjects import DEAD_LETTER_STREAM, USAGE_STREAM, USAGE_SUBJECT
from tests.ratelimit.usage_dying import ACK_WAIT_S, BATCHES, EVENTS, STEPS
from tests.ratelimit.usage_world import Asked, UsageStore, batch_of, usage_store
from tests.support.poll import until
from tests.support.stack import ROOT


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """A NATS server of the test's own."""
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[EventBus]:
    """As a gateway, which declares the stream."""
    async with EventBus(url, service="test", clock=system_clock, new_id=new_id) as bus:
        await bus.streams.declare(USAGE_STREAM, [USAGE_SUBJECT], max_age_s=3600, max_bytes=8 << 20, work_queue=True)
        yield bus


@pytest.fixture
async def bus(server: Nats) -> AsyncIterator[EventBus]:
    async with connected(server.url) as bus:
        yield bus


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[UsageStore]:
    async with usage_store(database_url, system_clock()) as store:
        store.now = system_clock()
        yield store


def asked(number: int = EVENTS) -> dict[str, object]:
    return batch_of([Asked(at=system_clock())] * number)


async def until_taken(store: UsageStore, batches: int) -> None:
    async def taken() -> bool:
        return await store.rows("SELECT count(*) FROM ratelimit.usage_inbox") == [(batches,)]

    await until(taken, seconds=30, what=f"{batches} batches")


async def is_exact(store: UsageStore, events: int) -> None:
    for table in ("usage_minute", "usage_hour", "usage_day", "traffic_day", "demand_day"):
        assert await store.rows(f"SELECT sum(requests), sum(units) FROM ratelimit.{table}") == [(events, events)], table
    assert await store.rows("SELECT sum(units) FROM ratelimit.usage_units WHERE subject LIKE 'user:%'") == [(events,)]
    assert await store.rows("SELECT count(*) FROM ratelimit.request_log") == [(events,)]


async def until_empty(bus: EventBus) -> None:
    async def empty() -> bool:
        return (await bus.jetstream.stream_info(USAGE_STREAM)).state.messages == 0

    await until(empty, what="a stream that holds nothing more")


@pytest.mark.timeout(300)
async def test_killed_at_every_step_it_loses_nothing_and_counts_nothing_twice(
    database_url: str, server: Nats, store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.events, "MAX_DELIVERIES", 1000)
    monkeypatch.setattr(usage_feed, "_ACK_WAIT_S", ACK_WAIT_S)
    command = [sys.executable, "-m", "tests.ratelimit.usage_dying", database_url, server.url]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    sent = {UUID(line) for line in output.decode().splitlines() if line.count("-") == 4 and len(line) == 36}
    assert len(sent) == BATCHES * len(STEPS)
    async with connected(server.url) as bus:
        UsageFeed(bus, store.intake, Metrics("test")).start()
        await until_taken(store, len(sent))
        await until_empty(bus)
    assert {row[0] for row in await store.rows("SELECT batch_id FROM ratelimit.usage_inbox")} == sent
    await is_exact(store, EVENTS * len(sent))


async def test_two_services_share_the_batches(server: Nats, bus: EventBus, store: UsageStore, database_url: str) -> None:
    async with usage_store(database_url, system_clock()) as other, connected(server.url) as second:
        for each, its_bus in ((store, bus), (other, second)):
            each.now = system_clock()
            UsageFeed(its_bus, each.intake, Metrics("test")).start()
        for _ in range(40):
            await bus.publish(USAGE_SUBJECT, asked())
        await until_taken(store, 40)
        await until_empty(bus)
    await is_exact(store, 40 * EVENTS)


async def test_poison_is_put_aside_and_the_others_are_taken(bus: EventBus, store: UsageStore) -> None:
    metrics = Metrics("test")
    UsageFeed(bus, store.intake, metrics).start()
    poison = await bus.publish(USAGE_SUBJECT, asked() | {"units": ["many"]})
    await bus.publish(USAGE_SUBJECT, asked())
    await until_taken(store, 1)
    await until_empty(bus)
    letter = await bus.jetstream.get_last_msg(DEAD_LETTER_STREAM, f"kalpi.dlq.{usage_feed._WORKER}")
    assert orjson.loads(letter.data or b"")["id"] == str(poison.id)
    assert metrics.registry.get_sample_value("kalpi_ratelimit_usage_unfit_total") == 1
    await is_exact(store, EVENTS)


async def test_what_fails_each_time_is_put_aside_after_so_many_deliveries(
    bus: EventBus, store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.events, "MAX_DELIVERIES", 2)

    async def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(store.intake, "take", fail)
    UsageFeed(bus, store.intake, Metrics("test")).start()
    fact = await bus.publish(USAGE_SUBJECT, asked())

    async def put_aside() -> bool:
        try:
            letter = await bus.jetstream.get_last_msg(DEAD_LETTER_STREAM, f"kalpi.dlq.{usage_feed._WORKER}")
        except NotFoundError:
            return False
        return bool(orjson.loads(letter.data or b"")["id"] == str(fact.id))

    await until(put_aside, what="a dead letter")
    await until_empty(bus)


async def test_while_postgres_is_away_batches_wait_and_none_is_given_up(
    bus: EventBus, store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.events, "MAX_DELIVERIES", 1)
    monkeypatch.setattr(shared.events, "_RETRY_S", 0.1)
    monkeypatch.setattr(usage_feed, "_ACK_WAIT_S", 0.5)
    away, entry = 10, store.ledger.entry

    def reach() -> object:
        nonlocal away
        away -= 1
        if away > 0:
            raise Unavailable("away")
        return entry()

    monkeypatch.setattr(store.ledger, "entry", reach)
    UsageFeed(bus, store.intake, Metrics("test")).start()
    await bus.publish(USAGE_SUBJECT, asked())
    await until_taken(store, 1)
    await until_empty(bus)
    await is_exact(store, EVENTS)


async def test_nats_stopped_and_wiped_it_goes_on(server: Nats, bus: EventBus, store: UsageStore) -> None:
    UsageFeed(bus, store.intake, Metrics("test")).start()
    await bus.publish(USAGE_SUBJECT, asked())
    await until_taken(store, 1)
    await server.stop()
    await asyncio.to_thread(shutil.rmtree, server.folder / "jetstream")
    await server.start()

    id_ = new_id()  # the same each time: what was not acknowledged may be there all the same

    async def told() -> bool:
        try:
            await bus.publish(USAGE_SUBJECT, asked(), fact_id=id_)
        except Unavailable:
            return False
        return True

    await until(told, what="a batch that the stream takes")
    await until_taken(store, 2)
    await is_exact(store, 2 * EVENTS)
