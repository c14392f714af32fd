"""What the store's tests do in other processes: commit, and die at a chosen step of it."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_service.adapters.dataset import Dataset
from data_service.domain.bars import Bar, Bars
from data_service.domain.ports import Snapshot
from tests.data.dying import die_at


def a_bar(day: str, close: float) -> Bar:
    return Bar(np.datetime64(day, "D"), close, close, close, close, 1.0)


def with_bars(symbol: str, bars: list[Bar]) -> Callable[[Snapshot], list[Bars]]:
    def change(now: Snapshot) -> list[Bars]:
        series = now[symbol] if symbol in now else Bars.empty(symbol)
        for bar in bars:
            series = series.with_bar(bar)
        return [series]

    return change


def commit_and_die(folder: Path, step: int) -> None:
    """Commits one bar of IBM and of a new symbol, and is killed before the `step`th thing it does to a file."""
    dataset = Dataset(folder, None)
    dataset.open()
    die_at(step)

    def both(now: Snapshot) -> list[Bars]:
        changes = (with_bars("IBM", [a_bar("2013-03-04", 99.0)]), with_bars("NEW", [a_bar("2013-03-04", 5.0)]))
        return [bars for change in changes for bars in change(now)]

    dataset.commit(both)


def fill_the_disk(folder: Path, symbols: int) -> None:
    """Commits ever more until the disk is full; prints how many commits it took, and what the store then says."""
    dataset = Dataset(folder, None)
    dataset.open()
    days = [a_bar(str(day), 1.0 + 0.001 * row) for row, day in enumerate(np.arange("2000-01-01", "2005-01-01", dtype="M8[D]"))]
    for number in range(symbols):
        before = {symbol: dataset.snapshot()[symbol].data_version for symbol in dataset.snapshot()}
        try:
            dataset.commit(with_bars(f"FULL{number}", days))
        except OSError as error:
            after = Dataset(folder, None)
            after.open()
            same = {symbol: after.snapshot()[symbol].data_version for symbol in after.snapshot()} == before
            sys.stdout.write(f"{number} {error.errno} {same}\n")
            return
    sys.stdout.write("never full\n")


if __name__ == "__main__":
    fill_the_disk(Path(sys.argv[1]), 200)
