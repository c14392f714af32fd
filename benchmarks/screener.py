"""A screen of 5,000 symbols × 5 years through indicator-service and data-service, and a scan for patterns.

Run by `make bench-screener`. Asked of indicator-service directly, one process of each service. Cold: it has no bars yet. Warm: it
has, and they are the newest, and each question is a new one, so that it is computed. Kept: the same question again. Beside them
TA-Lib's own calls in a bare loop.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from talib import _ta_lib

from benchmarks.signing import signed
from data_service.adapters.calendars import calendar_of
from data_service.adapters.parquet import write_dataset
from data_service.domain.synthetic import universe
from indicator_service.domain.patterns import PATTERNS
from tests.support.stack import Stack, running_stack

SYMBOLS, YEARS = 5_000, 5
ROUNDS = 9
_Columns = Sequence[Any]


def screen_of(number: int) -> str:
    """Much the same work, and another question."""
    return f"rsi(14) < 30.{number:03} and close > sma(close, 200)"


class Asking:
    """Milliseconds of answers, and the last one."""

    def __init__(self, client: httpx.Client, stack: Stack) -> None:
        self._client, self._stack = client, stack
        self.told: dict[str, Any] = {}

    def screen(self, number: int) -> float:
        return self._ask("POST", "screener", json={"expression": screen_of(number)})

    def scan(self, limit: int) -> float:
        return self._ask("GET", "patterns", params={"limit": limit})

    def _ask(self, method: str, path: str, **sent: Any) -> float:
        url = f"{self._stack.state['urls']['indicator-service']}/api/v1/{path}"
        headers = signed(self._stack, "indicator-service")
        began = time.perf_counter()
        answer = self._client.request(method, url, headers=headers, **sent)
        taken = (time.perf_counter() - began) * 1e3
        answer.raise_for_status()
        self.told = answer.json()
        return taken


def bare_ms(symbols: Sequence[_Columns], call: Callable[[_Columns], object]) -> float:
    began = time.perf_counter()
    for columns in symbols:
        call(columns)
    return (time.perf_counter() - began) * 1e3


def bare_screen(columns: _Columns) -> object:
    close = columns[3]
    return _ta_lib.RSI(close, 14), _ta_lib.SMA(close, 200)


def bare_patterns(columns: _Columns) -> None:
    for pattern in PATTERNS:
        getattr(_ta_lib, pattern.name.upper())(*columns)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        source = Path(name) / "source"
        calendar = calendar_of("XNYS")
        write_dataset(source, universe(SYMBOLS, YEARS, 1, calendar))
        os.environ["DATA_BARS_PATH"] = str(source)
        with running_stack(Path(name)) as stack, httpx.Client(trust_env=False, timeout=60) as client:
            asking = Asking(client, stack)
            cold = asking.screen(0)
            warm = [asking.screen(number) for number in range(1, ROUNDS + 1)]
            counted = {key: asking.told[key] for key in ("evaluated", "matched", "unknown")}
            kept = [asking.screen(ROUNDS) for _ in range(ROUNDS)]
            scans = [asking.scan(5_000), asking.scan(4_999)]
    symbols = [(bars.open, bars.high, bars.low, bars.close) for bars in universe(SYMBOLS, YEARS, 1, calendar)]
    screening = min(bare_ms(symbols, bare_screen) for _ in range(ROUNDS))
    scanning = bare_ms(symbols, bare_patterns)
    table = Table("", "ms", "ratio to TA-Lib's calls in a bare loop", title=f"{screen_of(0)}: {counted}")
    for label, taken, bare in (
        ("screen, cold: every bar is fetched", cold, screening),
        (f"screen, warm, median of {ROUNDS}", statistics.median(warm), screening),
        ("screen, warm, best", min(warm), screening),
        ("screen, kept", statistics.median(kept), screening),
        (f"all {len(PATTERNS)} patterns of the market, three more columns fetched", scans[0], scanning),
        ("its next page, from what is kept", scans[1], scanning),
        ("TA-Lib: RSI and SMA", screening, screening),
        (f"TA-Lib: {len(PATTERNS)} patterns", scanning, scanning),
    ):
        table.add_row(label, f"{taken:,.0f}", f"{taken / bare:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
