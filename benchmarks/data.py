"""What the bar store costs at 5,000 symbols × 20 years. Run by `make bench-data`; ratios of figures taken in one run."""

import argparse
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from data_service.adapters.calendars import calendar_of
from data_service.adapters.dataset import Dataset
from data_service.adapters.parquet import write_dataset
from data_service.domain.bars import Bar, Bars
from data_service.domain.ports import Loading, Snapshot
from data_service.domain.store import BarStore
from data_service.domain.synthetic import universe

BYTES_A_BAR = 56  # a date and six numbers of eight bytes
ROUNDS = 5
READS = 20_000
ASK, STOP = "ask", "stop"


def pss_mb() -> float:
    """This process's share of the memory: shared pages count by their share."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0]) / 1024


def reader(folder: Path, source: Path, loading: Loading, pipe: Connection) -> None:
    """A worker process: opens the store, reads every symbol, and says its share of the memory when asked."""
    began = time.perf_counter()
    dataset = Dataset(folder, source, loading)
    dataset.open()
    opened = time.perf_counter() - began
    snapshot = dataset.snapshot()
    for symbol in snapshot:
        _ = snapshot[symbol].close[-1]
    del snapshot
    pipe.send(opened)
    while pipe.recv() == ASK:
        dataset.snapshot()
        dataset.touch()
        pipe.send(pss_mb())


class Worker:
    def __init__(self, folder: Path, source: Path, loading: Loading) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=reader, args=(folder, source, loading, theirs))
        self._process.start()
        self.opened: float = self._pipe.recv()

    def pss(self) -> float:
        self._pipe.send(ASK)
        share: float = self._pipe.recv()
        return share

    def stop(self) -> None:
        self._pipe.send(STOP)
        self._process.join()


def median_us(work: Callable[[int], object], times: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for number in range(times):
            work(number)
        rounds.append((time.perf_counter() - began) / times * 1e6)
    return statistics.median(rounds)


def change_every_tenth(now: Snapshot) -> list[Bars]:
    day = np.datetime64("2026-01-05", "D")
    changed = []
    for symbol in list(now)[::10]:
        bars = now[symbol]
        close = float(bars.close[-1])
        changed.append(bars.with_bar(Bar(day, close, close, close, close, 1.0)))
    return changed


def slicing(folder: Path, source: Path, few: int) -> list[tuple[str, float]]:
    """One symbol's 750 newest closes: from the whole store, from a store of a few symbols, and from one large frame."""
    small_source = folder / "few-source"
    write_dataset(small_source, universe(few, 20, 1, calendar_of("XNYS")))
    stores = {}
    for name, state, where in (("whole", folder / "state", source), (f"{few} symbols", folder / "few-state", small_source)):
        dataset = Dataset(state, where)
        dataset.open()
        stores[name] = BarStore(dataset.snapshot)
    first = np.datetime64("2023-01-02", "D")

    def slice_of(store: BarStore, names: Sequence[str]) -> Callable[[int], object]:
        def work(number: int) -> object:
            bars = store.stored(names[number % len(names)]).head
            at = int(np.searchsorted(bars.date, first))
            return bars.close[at : at + 750]

        return work

    figures = []
    for name, store in stores.items():
        # as many different symbols from either, so that both are as warm
        names = store.snapshot().symbols[:few]
        figures.append((name, median_us(slice_of(store, names), READS)))
    frame = pl.concat([pl.read_parquet(path, columns=["symbol", "date", "close"]) for path in sorted(source.glob("*.parquet"))])
    names = stores["whole"].snapshot().symbols

    def filtered(number: int) -> object:
        wanted = (pl.col("symbol") == names[number % len(names)]) & (pl.col("date") >= first.item())
        return frame.filter(wanted)["close"].head(750).to_numpy()

    figures.append(("one Polars frame, filtered", median_us(filtered, 10)))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=5000)
    parser.add_argument("--years", type=int, default=20)
    asked = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        folder = Path(name)
        source, state = folder / "source", folder / "state"
        bars = write_dataset(source, universe(asked.symbols, asked.years, 1, calendar_of("XNYS")))
        raw = bars * BYTES_A_BAR / 2**20
        one = Worker(state, source, "memory")
        alone = one.pss()
        two = Worker(state, source, "memory")
        both = one.pss() + two.pss()
        began = time.perf_counter()
        changed = Dataset(state, source, "mmap").commit(change_every_tenth)
        committed = time.perf_counter() - began
        after = one.pss() + two.pss()
        two.stop()
        mapped = Worker(state, source, "mmap")
        table = Table("store", "figure", "ratio", title=f"{asked.symbols:,} symbols, {bars:,} bars: {raw:,.0f} MB of columns")
        table.add_row("first start, from Parquet", f"{one.opened:.1f} s", "")
        table.add_row("start on what is there", f"{two.opened:.2f} s", f"{two.opened / one.opened:.3f}")
        table.add_row("start, DATA_LOADING=mmap", f"{mapped.opened:.2f} s", f"{mapped.opened / one.opened:.3f}")
        table.add_row("PSS of one worker", f"{alone:,.0f} MB", f"{alone / raw:.2f} × the columns")
        table.add_row("PSS of two workers", f"{both:,.0f} MB", f"{both / alone:.3f} × one")
        table.add_row(f"a commit of {len(changed)} symbols", f"{committed:.2f} s", "")
        table.add_row("PSS of two workers after it", f"{after:,.0f} MB", f"{after / both:.3f} × before")
        mapped.stop()
        one.stop()

        # here, because the workers above import this module, and are to be no heavier than they have to
        from benchmarks import data_processes  # noqa: PLC0415

        # on a store of their own: the one above has room for the bars that its commit replaced
        alone, both = data_processes.service_pss(folder, folder / "service-state", source)
        table.add_row("PSS of one whole data-service", f"{alone:,.0f} MB", f"{alone / raw:.2f} × the columns")
        table.add_row("PSS of two", f"{both:,.0f} MB", f"{both / alone:.3f} × one")
        console.print(table)
        figures = dict(slicing(folder, source, few=5))
    whole = figures["whole"]
    table = Table("one symbol's slice of 750 bars", "µs", "ratio to the whole store", title=f"median of {ROUNDS} rounds")
    for row, figure in figures.items():
        table.add_row(row, f"{figure:,.2f}", f"{figure / whole:,.2f}")
    console.print(table)

    from benchmarks import data_io  # noqa: PLC0415 - as above

    data_io.show(console)


if __name__ == "__main__":
    main()
