"""What a decision costs: over redis-py's pool, over one connection, by the limiter, from a lease. Run by `make bench-limiter`.

A thousand subjects in turn, a burst and a day each, 32 callers at once, the store on the other core.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from kalpi_local.servers import Valkey
from shared.limits.counters import DECIDE, Question
from shared.limits.fields import ratelimit_fields
from shared.limits.keys import EPOCH
from shared.limits.limiter import Limiter, policies_of
from shared.limits.plans import Burst, Limits
from shared.scripts import ScriptConnection
from shared.store import open_store

ROUNDS, CALLS, CALLERS, SUBJECTS = 5, 20_000, 32, 1000
LIMITS = Limits(burst=Burst(quota=100_000), day=1_000_000_000)
SMALL = Limits(burst=Burst(quota=9_999), day=1_000_000_000)

Call = Callable[[int], Awaitable[object]]


async def measure(call: Call) -> tuple[float, float]:
    """Calls a second, and microseconds of this process's CPU for each."""
    left = iter(range(CALLS))

    async def caller() -> None:
        for number in left:
            await call(number)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return CALLS / (time.perf_counter() - began), (time.process_time() - cpu) / CALLS * 1e6


async def rows(url: str) -> dict[str, list[tuple[float, float]]]:
    questions = [Question(policies_of(SMALL, f"user:{number}")) for number in range(SUBJECTS)]
    async with open_store(url) as redis, ScriptConnection(url) as scripts, Limiter(scripts) as limiter:
        registered = redis.register_script(DECIDE.text)
        small = [limiter.purse(f"small:{number}", SMALL) for number in range(SUBJECTS)]
        leased = limiter.purse("leased", LIMITS)

        async def pool(number: int) -> None:
            question = questions[number % SUBJECTS]
            await registered(keys=[EPOCH, *question.keys], args=["", "", *question.terms, ""])

        async def connection(number: int) -> None:
            question = questions[number % SUBJECTS]
            await scripts.call(DECIDE, [EPOCH, *question.keys], ["", "", *question.terms, ""])

        async def decided(number: int) -> None:
            ratelimit_fields(await limiter.spend(small[number % SUBJECTS]))

        async def lease(_number: int) -> None:
            decision = limiter.spend_now(leased)
            if decision is None:
                decision = await limiter.spend(leased)
                await asyncio.sleep(0)
            ratelimit_fields(decision)

        calls: dict[str, Call] = {
            "redis-py's pool of 32": pool,
            "one connection": connection,
            "Limiter.spend, with its fields": decided,
            "from a lease, with its fields": lease,
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                figures[name].append(await measure(call))
        return figures


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-") as folder:
        valkey = Valkey(Path(folder) / "valkey", "benchmark", durable=False)
        await valkey.start()
        try:
            figures = await rows(valkey.url)
        finally:
            await valkey.stop()
    table = Table("decisions", "a second", "µs of CPU each", title=f"median of {ROUNDS} rounds of {CALLS:,}")
    for name, measured in figures.items():
        rate, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
        table.add_row(name, f"{rate:,.0f}", f"{cpu:.1f}")
    Console().print(table)


if __name__ == "__main__":
    uvloop.run(main())
