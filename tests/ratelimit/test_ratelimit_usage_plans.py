"""How Postgres finds what history and analytics ask for: by the key, or in the partitions of the time that is asked for alone."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from kalpi_local.servers import Servers
from ratelimit_service.adapters.usage_reader import PostgresAnalytics, PostgresHistory
from ratelimit_service.domain.history import HistoryFilter, Window
from tests.ratelimit.databases import partitioned_database
from tests.ratelimit.usage_world import NOON, Asked, UsageStore, key_id, tenant_id, usage_store, user_id

TODAY = Window(NOON.date(), NOON.date())


@pytest.fixture(scope="module")
def told_url(servers: Servers) -> Iterator[str]:
    with partitioned_database(servers, NOON.date()) as url:
        asyncio.run(tell(url))
        yield url


async def tell(url: str) -> None:
    """Eight days of 300 users, as many as it takes for an index to be worth while."""
    async with usage_store(url) as store:
        for days in range(8):
            at = NOON - timedelta(days=days)
            await store.take(
                [
                    Asked(
                        at=at + timedelta(minutes=n % 60), user=1 + n % 300, key=1 + n % 300, status=429 if n % 97 == 0 else 200
                    )
                    for n in range(3000)
                ]
            )
        async with store.database.connection() as connection:
            await connection.execute(text("ANALYZE"))


@pytest.fixture
async def store(told_url: str) -> AsyncIterator[UsageStore]:
    async with usage_store(told_url) as store:
        yield store


class Explained:
    """The statements that were asked, each with its plan."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self.asked: list[tuple[str, Any]] = []
        event.listen(store.database._engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self.asked.append((statement, parameters))

    async def plan(self) -> dict[str, Any]:
        """Of the one statement there was."""
        ((statement, parameters),) = self.asked
        async with self._store.database.connection() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            (row,) = await driver.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)
        plan: dict[str, Any] = row[0][0]["Plan"]
        return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scanned(plan: dict[str, Any]) -> dict[str, str]:
    """Tables, each with how it is read."""
    return {node["Relation Name"]: node["Node Type"] for node in nodes(plan) if "Relation Name" in node}


def days_of(tables: dict[str, str]) -> set[date]:
    names = [re.search(r"_(\d{8})$", name) for name in tables]
    return {date(int(found[1][:4]), int(found[1][4:6]), int(found[1][6:])) for found in names if found}


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
@pytest.mark.parametrize("whose", ["user", "tenant", "key"])
async def test_a_history_is_found_by_its_key_in_the_partitions_of_its_time(store: UsageStore, grain: Any, whose: str) -> None:
    explained = Explained(store)
    user = user_id(7) if whose != "tenant" else None
    key = key_id(7) if whose == "key" else None
    asked = HistoryFilter(tenant_id(7), user, key, TODAY, grain, "endpoint", None, 101)
    rows = await PostgresHistory(store.reads).rows(asked)
    assert sum(row["requests"] for row in rows) == (90 if whose == "tenant" else 10)
    plan = await explained.plan()
    partition = f"usage_{grain}_{'20260301' if grain == 'day' else '20260314'}"
    assert scanned(plan).keys() == {partition}
    assert scanned(plan)[partition] in {"Index Scan", "Bitmap Heap Scan"}, plan
    conditions = " ".join(str(node.get("Index Cond", "")) for node in nodes(plan))
    assert "tenant_id" in conditions
    assert whose == "tenant" or "user_id" in conditions


async def test_analytics_read_the_partitions_of_their_time_alone_in_one_statement_each(store: UsageStore) -> None:
    analytics = PostgresAnalytics(store.reads)
    month = {date(2026, 3, 1)}
    questions: list[tuple[Any, set[date]]] = [
        (lambda: analytics.traffic(TODAY, "minute"), {NOON.date()}),
        (lambda: analytics.traffic(TODAY, "hour"), {NOON.date()}),
        (lambda: analytics.traffic(TODAY, "day"), month),
        (lambda: analytics.active(TODAY), {*month, NOON.date()}),
        *[(lambda by=by: analytics.top(TODAY, by, "units", 20), month) for by in ("tenant", "key", "endpoint", "symbol")],
        *[(lambda by=by: analytics.slots(TODAY, by), month) for by in ("endpoint", "cache")],
        (lambda: analytics.errors(TODAY, 20), month),
        (lambda: analytics.growth(TODAY, "week"), month),
    ]
    explained = Explained(store)
    for ask, expected in questions:
        explained.asked.clear()
        assert await ask()
        assert days_of(scanned(await explained.plan())) == expected, explained.asked


async def test_the_newest_errors_are_read_from_their_own_index(store: UsageStore) -> None:
    explained = Explained(store)
    window = Window(NOON.date() - timedelta(days=3), NOON.date())
    assert len(await PostgresAnalytics(store.reads).newest_errors(window, 5)) == 5
    tables = scanned(plan := await explained.plan())
    assert days_of(tables) == {NOON.date() - timedelta(days=days) for days in range(4)}
    assert set(tables.values()) == {"Index Scan"}, plan
    assert "Sort" not in {node["Node Type"] for node in nodes(plan)}, "the newest come first, and no more are read"
