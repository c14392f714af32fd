"""The relay: in order, each event once while it can be, and again where it must be."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.chain import Sealed
from auth_service.domain.relaying import BATCH, Relay
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.ids import new_id
from shared.metrics import Metrics
from shared.periodic import PeriodicTask, running_tasks
from shared.postgres import open_engine
from tests.auth.auth_store import audit_event, keeper_of
from tests.support.poll import until


class Publisher:
    """Fails where it is told to, with what it is told to."""

    def __init__(self) -> None:
        self.published: list[UUID] = []
        self.seqs: list[int] = []
        self.fails_at: int | None = None
        self.error: Exception = Unavailable("away")

    async def publish(self, row: Sealed) -> None:
        if len(self.published) == self.fails_at:
            raise self.error
        self.published.append(row.event.id)
        self.seqs.append(row.link.seq)


@pytest.fixture
async def alone(own_database_url: str) -> AsyncIterator[PostgresDatabase]:
    engine = open_engine(own_database_url, service="test", pool_size=5, command_timeout_s=5)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        yield database


async def record(database: PostgresDatabase, count: int) -> list[UUID]:
    tenant_id = new_id()
    events = [audit_event(tenant_id=tenant_id) for _ in range(count)]
    async with database.transaction(tenant_id) as tx:
        await tx.audit.record(*events)
    return [event.id for event in events]


def relay_of(database: PostgresDatabase, publisher: Publisher) -> Relay:
    return Relay(database, publisher, keeper_of(database), asyncio.Event(), clock=system_clock)


async def test_a_publisher_that_fails_half_way_goes_on_where_it_failed(alone: PostgresDatabase) -> None:
    ids = await record(alone, 5)
    publisher = Publisher()
    relay = relay_of(alone, publisher)
    publisher.fails_at = 3
    with pytest.raises(Unavailable):
        await relay.round()
    assert publisher.published == ids[:3]
    publisher.fails_at = None
    assert await relay.round() == 2
    assert publisher.published == ids
    assert await relay.round() == 0


async def test_what_was_published_before_an_unexpected_error_does_not_go_again(alone: PostgresDatabase) -> None:
    ids = await record(alone, 5)
    publisher = Publisher()
    publisher.fails_at, publisher.error = 3, ValueError("a mistake of ours")
    relay = relay_of(alone, publisher)
    with pytest.raises(ValueError, match="a mistake of ours"):
        await relay.round()
    publisher.fails_at = None
    await relay.round()
    assert publisher.published == ids


async def test_several_relays_at_once_publish_each_event_once_and_in_order(alone: PostgresDatabase) -> None:
    ids = await record(alone, 2 * BATCH + 10)
    publisher = Publisher()
    relays = [relay_of(alone, publisher) for _ in range(4)]
    counts = await asyncio.gather(*(relay.round() for relay in relays))
    assert sorted(counts) == [0, 10, BATCH, BATCH]
    assert publisher.published == ids


async def test_a_relay_that_cannot_publish_keeps_trying(alone: PostgresDatabase) -> None:
    ids = await record(alone, 3)
    publisher = Publisher()
    publisher.fails_at = 1
    relaying = PeriodicTask("relay", relay_of(alone, publisher).relay, every_s=0.01)

    async def published(expected: int) -> bool:
        return len(publisher.published) == expected

    async with running_tasks(Metrics("test"), relaying):
        await until(lambda: published(1))
        publisher.fails_at = None
        await until(lambda: published(3))
    assert publisher.published == ids


async def test_a_relay_takes_whatever_waits_however_many_batches_that_is(alone: PostgresDatabase) -> None:
    ids = await record(alone, 2 * BATCH + 10)
    publisher = Publisher()
    await relay_of(alone, publisher).relay()
    assert publisher.published == ids


async def record_and_fail(database: PostgresDatabase) -> None:
    tenant_id = new_id()
    async with database.transaction(tenant_id) as tx:
        await tx.audit.record(audit_event(tenant_id=tenant_id))
        raise Unavailable("somebody else's")


async def test_a_commit_wakes_the_relay_and_a_rollback_does_not(own_database_url: str) -> None:
    written = asyncio.Event()
    async with PostgresDatabase(
        open_engine(own_database_url, service="test", pool_size=1, command_timeout_s=5), written
    ) as database:
        with pytest.raises(Unavailable):
            await record_and_fail(database)
        async with database.transaction(new_id()) as tx:
            await tx.audit.record()
        async with database.outbox() as outbox:
            assert await outbox.unsealed(10) == []
        assert not written.is_set()
        await record(database, 1)
        assert written.is_set()
