"""`make bench-usage`: how many request events ratelimit-service takes a second, and what a day of them takes in Postgres.

Batches of 500 requests, 64 at a time as its worker fetches them, of so many callers; on the embedded Postgres of this machine,
with durability. The consumer's own processor time is beside the wall's, for Postgres works on another core.
"""

import asyncio
import itertools
import random
import tempfile
import time
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import text

from kalpi_local.servers import Postgres
from ratelimit_service.adapters.partitions import PostgresPartitions, schedules
from ratelimit_service.adapters.postgres import PostgresDatabase
from ratelimit_service.adapters.usage_ledger import PostgresLedger
from ratelimit_service.domain.intake import Intake
from ratelimit_service.domain.sampling import Sampler
from ratelimit_service.migrate import migrate
from shared.clock import system_clock
from shared.ids import new_id

BATCH, AT_A_TIME, ROUNDS = 500, 64, 5
ENDPOINTS = ("/api/v1/indicators/{name}", "/api/v1/bars/{symbol}")
_SIZE = text(
    """
    SELECT parent.relname, sum(pg_total_relation_size(inhrelid)), sum(child.reltuples)
    FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
    WHERE parent.relnamespace = 'ratelimit'::regnamespace AND parent.relkind = 'p' GROUP BY 1 HAVING sum(child.reltuples) > 0
    ORDER BY 2 DESC
    """
)


def batch(callers: int, at: datetime, chance: random.Random) -> dict[str, object]:
    """As a gateway sends it: of some callers, most of them asking for one of 200 symbols."""
    people = [f"{chance.randrange(callers):012x}" for _ in range(BATCH)]
    rows = sorted(set(people))
    calls = [
        ["GET", endpoint, "rsi" if "name" in endpoint else "", f"S{symbol}", status, cache]
        for endpoint in ENDPOINTS
        for symbol in range(200)
        for status, cache in ((200, "hit"), (200, "miss"), (429, "none"))
    ]
    milliseconds = round(at.timestamp() * 1000)
    return {
        "callers": [
            [
                f"00000000-0000-7000-8000-{one}",
                f"00000000-0000-7000-9000-{one}",
                f"00000000-0000-7000-a000-{one}",
                "key",
                "pro",
                f"user:{one}",
            ]
            for one in rows
        ],
        "calls": calls,
        "caller": [rows.index(one) for one in people],
        "call": [chance.randrange(len(calls)) for _ in range(BATCH)],
        "at": [milliseconds + place for place in range(BATCH)],
        "latency_us": [round(chance.lognormvariate(6, 1)) for _ in range(BATCH)],
        "units": [1] * BATCH,
        "bytes_out": [12_000] * BATCH,
        "request_id": [str(new_id()) for _ in range(BATCH)],
    }


async def measure(database: PostgresDatabase, callers: int, log_per_s: float) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    sampler = Sampler(log_per_s, partial(next, itertools.count()), chance.random)
    intake = Intake(PostgresLedger(database.connection), sampler, system_clock, taken=lambda _: None)
    now = system_clock()
    await intake.take(new_id(), batch(callers, now, chance))
    figures = []
    for number in range(ROUNDS):
        batches = [batch(callers, now - timedelta(seconds=number), chance) for _ in range(AT_A_TIME)]
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(intake.take(new_id(), one) for one in batches))
        events = BATCH * AT_A_TIME
        figures.append((events / (time.perf_counter() - wall), (time.process_time() - cpu) / events * 1e6))
    wall, cpu = sorted(figures)[len(figures) // 2]
    print(f"{callers:6,} callers: {wall:8,.0f} events/s, {cpu:5.1f} µs of the consumer's processor an event")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as folder:
        postgres = Postgres(Path(folder), "secret", durable=True)
        await postgres.start()
        try:
            await asyncio.to_thread(migrate, postgres.url)
            async with PostgresDatabase(postgres.url, service="bench", pool_size=2, within_s=60, away="away") as database:
                kept = schedules(log_days=30, minute_days=14, hour_days=100, day_days=1100)
                await PostgresPartitions(database.connection, kept).keep(system_clock().date())
                for callers in (1, 1000, 20_000):
                    await measure(database, callers, 200)
                async with database.connection() as connection:
                    await connection.execute(text("ANALYZE"))
                    rows = (await connection.execute(_SIZE)).all()
                for name, size, count in rows:
                    each = int(size) / max(1, int(count))
                    print(f"{name:16} {int(count):9,} rows {int(size) / 1e6:8.1f} MB  {each:6.0f} bytes a row")
        finally:
            await postgres.stop()


if __name__ == "__main__":
    asyncio.run(main())
