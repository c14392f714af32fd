"""How long a start takes, and what an answer costs when it is cached and when it is computed. Run by `make bench`."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import aiohttp
import httpx
from rich.console import Console
from rich.table import Table

from tests.support.stack import Stack, running_stack

ROUNDS = 5
REQUESTS = 400
CONNECTIONS = 16


def seconds_to_first_answer(folder: Path) -> float:
    """From `make run`, everything set up, to one indicator in hand."""
    began = time.perf_counter()
    with running_stack(folder) as stack:
        url = f"{stack.url}/api/v1/indicators/rsi?symbol=AAPL"
        httpx.get(url, headers=stack.key("premium"), trust_env=False).raise_for_status()
        return time.perf_counter() - began


async def requests_per_second(session: aiohttp.ClientSession, next_url: Callable[[], str]) -> float:
    left = iter(range(REQUESTS))

    async def worker() -> None:
        for _ in left:
            async with session.get(next_url()) as answer:
                await answer.read()
                answer.raise_for_status()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return REQUESTS / (time.perf_counter() - began)


async def throughput(stack: Stack) -> dict[str, float]:
    """Requests a second, the median of rounds that take turns."""
    base = f"{stack.url}/api/v1/indicators/rsi?symbol=AAPL&limit=250"
    days = count()
    # a start nobody has asked for yet is a miss; the rows returned are as many
    rows: dict[str, Callable[[], str]] = {
        "cached": lambda: base,
        "computed": lambda: f"{base}&start_date={date(2000, 1, 1) - timedelta(days=next(days))}",
    }
    figures: dict[str, list[float]] = {name: [] for name in rows}
    async with aiohttp.ClientSession(headers=stack.key("enterprise")) as session:
        for _ in range(ROUNDS):
            for name, next_url in rows.items():
                figures[name].append(await requests_per_second(session, next_url))
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        first, second = seconds_to_first_answer(Path(name)), seconds_to_first_answer(Path(name))
        with running_stack(Path(name)) as stack:
            figures = asyncio.run(throughput(stack))
    starts = Table("start", "seconds to the first answer", title="make run, environment set up")
    starts.add_row("with no state", f"{first:.1f}")
    starts.add_row("with the state of the one before", f"{second:.1f}")
    console.print(starts)
    table = Table("RSI of 250 bars", "requests/s", "ratio", title=f"{CONNECTIONS} connections, median of {ROUNDS} rounds")
    for row, figure in figures.items():
        table.add_row(row, f"{figure:.0f}", f"{figure / figures['computed']:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
