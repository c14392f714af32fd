"""When a key was last used: noted when it is resolved, written in batches, never in the way."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain import using
from auth_service.domain.ports import Database
from auth_service.domain.using import KeyUsage
from shared.errors import Unavailable
from shared.ids import new_id
from tests.auth.auth_store import NOW, Stored, store_everything
from tests.auth.auth_world import running_world, settings_of
from tests.support.poll import until

PATH = "/api/v1/auth/api-keys"
SECOND = timedelta(seconds=1)


class Uses:
    """Stands for the table; `away` for a database that does not answer."""

    def __init__(self) -> None:
        self.saved: list[Mapping[UUID, Any]] = []
        self.away = False
        self.refused = 0
        self.meanwhile: Any = None

    @property
    def key_uses(self) -> "Uses":
        return self

    async def save(self, uses: Mapping[UUID, Any]) -> None:
        if self.away:
            self.refused += 1
            raise Unavailable("away")
        if self.meanwhile:
            self.meanwhile()
        self.saved.append(uses)


@pytest.fixture
def table() -> Uses:
    return Uses()


def usage(table: Uses, dropped: Any = None) -> KeyUsage:
    return KeyUsage(cast("Database", table), dropped=dropped or (lambda: None))


async def test_many_uses_of_a_key_are_one_row_of_one_batch(table: Uses) -> None:
    uses, one, other = usage(table), new_id(), new_id()
    for second in range(5):
        uses.note(one, NOW + second * SECOND)
    uses.note(other, NOW)
    await uses.flush()
    assert table.saved == [{one: NOW + 4 * SECOND, other: NOW}]
    await uses.flush()
    assert len(table.saved) == 1, "nothing is written twice"


async def test_what_could_not_be_written_waits(table: Uses) -> None:
    uses, key = usage(table), new_id()
    uses.note(key, NOW)
    table.away = True
    with pytest.raises(Unavailable):
        await uses.flush()
    table.away = False
    await uses.flush()
    assert table.saved == [{key: NOW}]


async def test_a_use_that_comes_while_others_are_written_is_not_lost(table: Uses) -> None:
    uses, key = usage(table), new_id()
    uses.note(key, NOW)
    table.meanwhile = lambda: uses.note(key, NOW + SECOND)
    await uses.flush()
    table.meanwhile = None
    await uses.flush()
    assert table.saved == [{key: NOW}, {key: NOW + SECOND}]


async def test_as_many_wait_as_there_is_room_for_and_what_is_dropped_is_counted(
    table: Uses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(using, "MOST_WAITING", 3)
    monkeypatch.setattr(using, "BATCH", 2)
    dropped: list[None] = []
    uses, keys = usage(table, lambda: dropped.append(None)), [new_id() for _ in range(5)]
    for key in keys:
        uses.note(key, NOW)
    uses.note(keys[0], NOW + SECOND)
    assert len(dropped) == 2, "one that waits already has its place"
    await uses.flush()
    assert table.saved == [{keys[0]: NOW + SECOND, keys[1]: NOW}, {keys[2]: NOW}]


async def test_the_newest_use_counts_whichever_process_writes_last(database: PostgresDatabase, stored: Stored) -> None:
    unknown, other = new_id(), await store_everything(database)
    await database.key_uses.save({stored.key.id: NOW + SECOND, unknown: NOW, other.key.id: NOW})
    await database.key_uses.save({stored.key.id: NOW})
    for one, at in ((stored, NOW + SECOND), (other, NOW)):
        async with database.transaction(one.user.tenant_id) as tx:
            found = await tx.api_keys.get(one.user.id, one.key.id, NOW)
        assert found is not None
        assert found.last_used_at == at


async def test_the_uses_of_another_tenants_keys_are_not_seen_nor_written_by_hand(
    database: PostgresDatabase, stored: Stored, database_url: str
) -> None:
    await database.key_uses.save({stored.key.id: NOW})
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetch("SELECT * FROM auth.api_key_use") == []
        await connection.execute(f"SET kalpi.tenant = '{stored.user.tenant_id}'")
        assert len(await connection.fetch("SELECT * FROM auth.api_key_use")) == 1
        assert await connection.execute("UPDATE auth.api_key_use SET last_used_at = now()") == "UPDATE 0"
        values = stored.key.id, stored.user.tenant_id
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO auth.api_key_use VALUES ($1, $2, now())", *values)
    finally:
        await connection.close()


async def test_a_use_moves_to_another_tenant_with_its_user(database: PostgresDatabase, stored: Stored, admin_url: str) -> None:
    other = await store_everything(database)
    await database.key_uses.save({stored.key.id: NOW})
    connection = await asyncpg.connect(admin_url)
    tenant_id = other.user.tenant_id
    await connection.execute("UPDATE auth.user_account SET tenant_id = $1 WHERE id = $2", tenant_id, stored.user.id)
    moved = await connection.fetchval("SELECT tenant_id FROM auth.api_key_use WHERE key_id = $1", stored.key.id)
    await connection.close()
    assert moved == tenant_id


async def test_a_key_says_when_it_was_last_used(database_url: str, nats_url: str) -> None:
    async with running_world(settings_of(database_url, nats_url, key_use_flush_s=0.01)) as world:
        member = await world.member()
        key = await world.create_key(member)
        assert key["last_used_at"] is None
        await world.resolve_key(key["api_key"])

        async def used() -> Any:
            (shown,) = (await world.call("GET", PATH, member.principal)).json()["data"]
            return shown["last_used_at"]

        moment = await until(used, what="the use")
    assert moment.replace("Z", "+00:00") == world.clock.now.isoformat()


async def test_what_waits_is_written_when_the_service_stops(database_url: str, nats_url: str, admin_url: str) -> None:
    async with running_world(settings_of(database_url, nats_url, key_use_flush_s=3600)) as world:
        key = await world.create_key(await world.register())
        await world.resolve_key(key["api_key"])
    connection = await asyncpg.connect(admin_url)
    used = await connection.fetchval("SELECT last_used_at FROM auth.api_key_use WHERE key_id = $1", UUID(key["id"]))
    await connection.close()
    assert used == world.clock.now
