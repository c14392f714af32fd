"""A screen of 5,000 symbols × 5 years through indicator-service and data-service, cold and warm. Run by `make bench-screener`.

Asked of indicator-service directly, one process of each service. Cold: it has no bars yet. Warm: it has, and they are the newest.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.signing import signed
from data_service.adapters.calendars import calendar_of
from data_service.adapters.parquet import write_dataset
from data_service.domain.synthetic import universe
from tests.support.stack import Stack, running_stack

SYMBOLS, YEARS = 5_000, 5
SCREEN = "rsi(14) < 30 and close > sma(close, 200)"
ROUNDS = 9


def screened(client: httpx.Client, stack: Stack) -> tuple[float, dict[str, int]]:
    """Milliseconds, and what was counted."""
    url = f"{stack.state['urls']['indicator-service']}/api/v1/screener"
    began = time.perf_counter()
    answer = client.post(url, json={"expression": SCREEN}, headers=signed(stack, "indicator-service"))
    taken = (time.perf_counter() - began) * 1e3
    answer.raise_for_status()
    return taken, {name: answer.json()[name] for name in ("evaluated", "matched", "unknown")}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        source = Path(name) / "source"
        write_dataset(source, universe(SYMBOLS, YEARS, 1, calendar_of("XNYS")))
        os.environ["DATA_BARS_PATH"] = str(source)
        with running_stack(Path(name)) as stack, httpx.Client(trust_env=False, timeout=60) as client:
            cold, counted = screened(client, stack)
            warm = [screened(client, stack)[0] for _ in range(ROUNDS)]
    table = Table("screen", "ms", title=f"{SCREEN}: {counted}")
    table.add_row("cold: every bar is fetched", f"{cold:,.0f}")
    table.add_row(f"warm, median of {ROUNDS}", f"{statistics.median(warm):,.0f}")
    table.add_row("warm, best", f"{min(warm):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
