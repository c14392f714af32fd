"""Batches on the real Postgres: each once, all or nothing, in as many statements however large; partitions come and go."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event

from kalpi_local.servers import Servers
from ratelimit_service.adapters import usage_ledger
from ratelimit_service.adapters.partitions import PostgresPartitions
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_ledger import PostgresEntry
from ratelimit_service.domain.intake import UnfitBatch
from ratelimit_service.domain.rollups import OTHER
from ratelimit_service.migrate import migrate
from shared.errors import Unavailable
from shared.ids import new_id
from tests.ratelimit.databases import KEPT, partitioned_database
from tests.ratelimit.usage_world import NOON, Asked, UsageStore, batch_id, batch_of, tenant_id, usage_store, user_id

GRAINS = ("minute", "hour", "day")


@pytest.fixture(scope="module")
def partitioned_url(servers: Servers) -> Iterator[str]:
    with partitioned_database(servers, NOON.date()) as url:
        yield url


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[UsageStore]:
    async with usage_store(database_url) as store:
        yield store


async def counted(store: UsageStore) -> set[tuple[Any, ...]]:
    """Requests and units, of every table that counts them."""
    found = set()
    for table in (f"{kind}_{grain}" for kind in ("usage", "traffic") for grain in GRAINS):
        (row,) = await store.rows(f"SELECT sum(requests), sum(units) FROM ratelimit.{table}")
        found.add(tuple(map(int, row)))
    return found


async def test_a_batch_is_counted_once_however_often_it_comes(store: UsageStore) -> None:
    asked = [Asked(user=number % 5, units=2) for number in range(20)]
    id_ = await store.take(asked)
    await store.take(asked, id_)
    await asyncio.gather(*(store.take(asked, id_) for _ in range(5)))
    assert await counted(store) == {(20, 40)}
    assert await store.rows("SELECT count(*), count(DISTINCT id) FROM ratelimit.request_log") == [(20, 20)]
    assert sum(store.taken) == 20


async def test_batches_that_come_together_are_one_transaction(store: UsageStore) -> None:
    await asyncio.gather(*(store.take([Asked(units=1)] * 3) for _ in range(30)))
    assert await counted(store) == {(90, 90)}
    assert store.taken == [90]


async def test_every_number_is_found_where_it_belongs(store: UsageStore) -> None:
    await store.take(
        [
            Asked(user=1, key=1, units=1, cache="hit", latency_us=100),
            Asked(user=1, key=1, units=0, status=429),
            Asked(user=1, key=2, units=3, indicator="rsi", endpoint="/api/v1/indicators/{name}"),
            Asked(user=2, at=NOON + timedelta(minutes=1)),
            Asked(user=0, units=0, status=401, symbol=""),
        ],
        lost=(7, 5),
    )
    day = "day = '2026-03-14'"
    assert await store.rows(f"SELECT subject, units FROM ratelimit.usage_units WHERE {day} ORDER BY subject") == [
        (f"members:{tenant_id(1)}", 5),
        (f"user:{user_id(1)}", 4),
        (f"user:{user_id(2)}", 1),
    ]
    assert await store.rows("SELECT kind, name, requests, units, failed FROM ratelimit.demand_day ORDER BY kind, name") == [
        ("indicator", "rsi", 1, 3, 0),
        ("symbol", "AAPL", 4, 5, 1),
    ]
    hits = "SELECT key_id, status, requests, units, hits FROM ratelimit.usage_hour ORDER BY key_id, status, requests"
    assert [row[1:] for row in await store.rows(hits)] == [
        (200, 1, 1, 0),
        (401, 1, 0, 0),
        (200, 1, 1, 1),
        (429, 1, 0, 0),
        (200, 1, 3, 0),
    ]
    assert len(await store.rows("SELECT DISTINCT at FROM ratelimit.usage_minute")) == 2
    assert await store.rows(f"SELECT lost_events, lost_units, events FROM ratelimit.usage_inbox WHERE {day}") == [(7, 5, 5)]
    assert await store.rows("SELECT user_id, first_day, last_day FROM ratelimit.caller_seen ORDER BY user_id") == [
        (user_id(number), NOON.date(), NOON.date()) for number in (1, 2)
    ]
    assert await store.rows("SELECT at, kept FROM ratelimit.request_log WHERE status = 429") == [(NOON, 1.0)]


async def test_a_user_is_known_since_the_first_day_whatever_comes_late(store: UsageStore) -> None:
    for days in (0, -2, -1):
        await store.take([Asked(at=NOON + timedelta(days=days))])
    assert await store.rows("SELECT first_day, last_day FROM ratelimit.caller_seen") == [
        ((NOON - timedelta(days=2)).date(), NOON.date())
    ]


async def test_what_cannot_be_written_leaves_nothing_and_harms_no_other(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the last step of its transaction."""
    log = PostgresEntry.log

    async def fail(self: PostgresEntry, entries: Any) -> None:
        if any(entry.request.request_id == "poison" for entry in entries):
            raise RuntimeError("a fault of ours")
        await log(self, entries)

    monkeypatch.setattr(PostgresEntry, "log", fail)
    told = await asyncio.gather(
        *(store.take([Asked(request_id=name)]) for name in ("a", "poison", "b", "c")), return_exceptions=True
    )
    assert [type(one).__name__ for one in told] == ["UUID", "RuntimeError", "UUID", "UUID"]
    assert await counted(store) == {(3, 3)}
    for table in ("usage_inbox", "caller_seen"):
        found = 3 if table == "usage_inbox" else 1
        assert await store.rows(f"SELECT count(*) FROM ratelimit.{table}") == [(found,)], table


@pytest.mark.parametrize("off", [timedelta(days=-9), timedelta(days=2)], ids=["old", "ahead"])
async def test_a_batch_of_another_time_is_unfit(store: UsageStore, off: timedelta) -> None:
    for made, asked in ((NOON, NOON + off), (NOON + off, NOON)):
        with pytest.raises(UnfitBatch, match="its times are not between"):
            await store.take([Asked(at=asked)], batch_id(made))
    with pytest.raises(UnfitBatch):
        await store.intake.take(batch_id(), batch_of([Asked()]) | {"at": ["now"]})
    assert await store.rows("SELECT count(*) FROM ratelimit.usage_inbox") == [(0,)]


async def test_names_beyond_the_most_are_counted_as_other(store: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that come together the most asked for have a row; what has one keeps it."""
    monkeypatch.setattr(usage_ledger, "MOST_NAMES", {"minute": 2, "hour": 3, "day": 3})
    await store.take([Asked(symbol=name) for name in "ABBCCC"])
    other = usage_ledger.PostgresLedger(store.database.connection)
    store.intake._ledger = other  # another process, which has seen nothing yet
    await store.take([Asked(symbol=name) for name in "DDDDBA"])
    found = {grain: dict(await store.rows(f"SELECT name, requests FROM ratelimit.demand_{grain}")) for grain in GRAINS}
    assert found["minute"] == {"C": 3, "B": 3, OTHER: 6}
    assert found["hour"] == found["day"] == {"A": 2, "B": 3, "C": 3, OTHER: 4}


async def test_the_number_of_statements_is_that_of_the_tables_not_of_the_requests(store: UsageStore) -> None:
    executed: list[str] = []
    event.listen(store.database._engine.sync_engine, "before_cursor_execute", lambda *arguments: executed.append(arguments[2]))
    numbers = []
    for users in (1, 400):
        executed.clear()
        await store.take([Asked(user=1 + number % users, symbol=f"S{number % 50}") for number in range(4000)])
        numbers.append(len(executed))
    names = 3
    assert numbers == [13 + names, 13], "lock, inbox, rollups, units, users; names are looked for once, the log is copied"


async def test_without_postgres_a_batch_is_not_taken_and_can_come_again(database_url: str) -> None:
    async with usage_store(database_url) as store:
        id_ = batch_id()
        await store.database._engine.dispose()
        nowhere = database_url.rpartition("/")[0] + "/nowhere"
        async with usage_store(database_url) as other:
            away = PostgresDatabase(nowhere, service="test", pool_size=1, within_s=2, away="away")
            other.intake._ledger = usage_ledger.PostgresLedger(away.connection)
            with pytest.raises(Unavailable, match="away"):
                await other.take([Asked()], id_)
            await away._engine.dispose()
        await store.take([Asked()], id_)
        assert await counted(store) == {(1, 1)}


# ----- partitions


async def partitions(url: str) -> dict[str, list[str]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT inhparent::regclass::text AS parent, inhrelid::regclass::text AS name FROM pg_inherits "
        "JOIN pg_class ON oid = inhrelid WHERE relkind = 'r' ORDER BY 1, 2"
    )
    await connection.close()
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["parent"].removeprefix("ratelimit."), []).append(row["name"].rpartition("_")[2])
    return found


async def test_partitions_are_made_ahead_and_dropped_when_they_are_old_by_a_role_that_owns_none(postgres_url: str) -> None:
    app = f"app_{new_id().hex}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE ROLE {app} LOGIN PASSWORD 'x'")
    # whatever zone a session is in, a day begins at midnight UTC
    await admin.execute(f"ALTER ROLE {app} SET timezone = 'Asia/Kolkata'")
    app_url = f"postgresql://{app}:x@{postgres_url.rpartition('@')[2]}"
    await asyncio.to_thread(migrate, postgres_url, app_url)
    async with usage_store(app_url, NOON) as store:
        there = await partitions(app_url)
        days = [f"{date(2026, 3, 6) + timedelta(days=passed):%Y%m%d}" for passed in range(12)]
        assert there["request_log"] == there["usage_minute"] == there["traffic_hour"] == days
        assert there["usage_day"] == there["usage_units"] == ["20260301"]
        await store.partitions.keep(NOON.date())
        assert await partitions(app_url) == there, "there is nothing to do"
        midnight = datetime(2026, 3, 14, tzinfo=UTC)
        await store.take([Asked(at=midnight), Asked(at=midnight - timedelta(milliseconds=1))])
        for table in ("usage_minute", "request_log"):
            for name in ("20260313", "20260314"):
                of = f"tableoid = 'ratelimit.{table}_{name}'::regclass"
                assert await store.rows(f"SELECT count(*) FROM ratelimit.{table} WHERE {of}") == [(1,)]
        await store.partitions.keep(date(2026, 3, 29))
        there = await partitions(app_url)
        assert there["usage_minute"][0] == "20260315", "the 14th is over for 14 days"
        assert there["request_log"][0] == "20260306", "it is kept longer"
        assert there["usage_units"] == ["20260301", "20260401"]
        assert there["usage_minute"][-1] == "20260401"
        await store.partitions.keep(date(2026, 8, 1))
        assert (await partitions(app_url))["usage_day"][0] == "20260301"
        assert (await partitions(app_url))["usage_units"][0] == "20260701"
    connection = await asyncpg.connect(app_url)
    for call in ("make_partition('plan_version', '2026-01-01', '2026-01-02')", "drop_partition('plan_version', '2026-01-01')"):
        with pytest.raises(asyncpg.RaiseError, match="no partitions of plan_version"):
            await connection.execute(f"SELECT ratelimit.{call}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DROP TABLE ratelimit.usage_minute")
    await connection.close()
    await admin.execute(f"DROP OWNED BY {app} CASCADE; DROP ROLE {app}")
    await admin.close()


async def test_partitions_are_waited_for_while_the_schema_is_being_made(postgres_url: str) -> None:
    """What takes events begins with them, and would never begin if this were an end."""
    connection = await asyncpg.connect(postgres_url)
    async with PostgresDatabase(postgres_url, service="test", pool_size=1, within_s=20, away="away") as database:
        partitions = PostgresPartitions(database.connection, KEPT)
        with pytest.raises(Unavailable):
            await partitions.keep(NOON.date())
        await connection.execute("CREATE SCHEMA ratelimit")
        with pytest.raises(Unavailable):
            await partitions.keep(NOON.date())
        await asyncio.to_thread(migrate, postgres_url)
        await partitions.keep(NOON.date())
    await connection.close()


async def test_several_that_look_after_partitions_at_once_are_not_in_each_others_way(database_url: str) -> None:
    async with usage_store(database_url) as store:
        others = [PostgresPartitions(store.database.connection, KEPT) for _ in range(3)]
        await asyncio.gather(*(other.keep(date(2026, 9, 1)) for other in others))
        assert (await partitions(database_url))["request_log"][-1] == "20260904"
