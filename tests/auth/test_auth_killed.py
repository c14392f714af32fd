"""auth-service is killed at every step between a change and its fact; whoever lives loses and doubles nothing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.ports import AuditFilter
from auth_service.domain.trail import Trail
from auth_service.domain.verifying import ChainCheck
from shared.clock import system_clock
from shared.events import DeliverPolicy, EventBus, Fact
from shared.ids import new_id
from shared.postgres import open_engine
from shared.roles import DatabaseUrls
from shared.subjects import AUTH_STREAM, AUTH_SUBJECTS
from tests.auth.auth_world import running_world, settings_of
from tests.auth.dying import SAYS, STEPS
from tests.support.poll import until
from tests.support.stack import ROOT


class Inbox:
    """A reader as the design asks for: what it has seen, by its id, it passes over."""

    def __init__(self) -> None:
        self.facts: dict[UUID, Fact] = {}

    async def take(self, fact: Fact) -> None:
        if fact.id not in self.facts:
            self.facts[fact.id] = fact


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[EventBus]:
    async with EventBus(nats_url, service="test", clock=system_clock, new_id=new_id) as bus:
        yield bus


async def killed_at_every_step(database_url: str, nats_url: str) -> set[UUID]:
    """The users whose registration was answered."""
    command = [sys.executable, "-m", "tests.auth.dying", database_url, nats_url]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    told, _ = await child.communicate()
    assert child.returncode == 0
    lines = told.decode().splitlines()
    return {UUID(line.removeprefix(SAYS)) for line in lines if line.startswith(SAYS)}


async def stored_ids(admin_url: str) -> dict[UUID, int | None]:
    connection = await asyncpg.connect(admin_url)
    rows = await connection.fetch("SELECT id, CASE WHEN hash IS NOT NULL THEN seq END AS seq FROM auth.audit_event")
    await connection.close()
    return {row["id"]: row["seq"] for row in rows}


async def test_no_event_is_lost_or_doubled_whenever_the_service_is_killed(
    own_urls: DatabaseUrls, nats_url: str, bus: EventBus
) -> None:
    registered = await killed_at_every_step(own_urls.app, nats_url)
    assert len(registered) >= len(STEPS)
    inbox = Inbox()
    async with running_world(settings_of(own_urls.app, nats_url)):

        async def nothing() -> None:
            return

        bus.follow(AUTH_STREAM, [AUTH_SUBJECTS], inbox.take, on_gap=nothing, deliver=DeliverPolicy.ALL)

        async def all_told() -> bool:
            stored = await stored_ids(own_urls.admin)
            return None not in stored.values() and set(stored) <= set(inbox.facts)

        await until(all_told, what="every event as a fact")
    stored = await stored_ids(own_urls.admin)
    mine = {fact.id: fact for fact in inbox.facts.values() if fact.id in stored}
    assert {id_: fact.data["seq"] for id_, fact in mine.items()} == stored, "a fact has one number, however often it was sent"
    assert sorted(seq for seq in stored.values() if seq is not None) == list(range(1, len(stored) + 1))
    told = {UUID(fact.data["user_id"]) for fact in mine.values() if fact.data["event"] == "registered"}
    assert told >= registered
    check = ChainCheck([])
    async with PostgresDatabase(
        open_engine(own_urls.app, service="test", pool_size=1, command_timeout_s=5), asyncio.Event()
    ) as database:
        async for batch in Trail(database.trail).batches(AuditFilter(), after=0):
            assert [fault for row in batch for fault in check.take(row)] == []
