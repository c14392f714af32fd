"""What an import and an answer cost: a million rows of CSV; 750 bars as Arrow, and as JSON. Part of `make bench-data`."""

import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.load import ceiling, requests_per_second
from benchmarks.signing import signed
from data_service.adapters.calendars import calendar_of
from data_service.adapters.dataset import Dataset
from data_service.adapters.uploads import Source, read_upload
from data_service.domain.bars import Listing
from data_service.domain.importing import Terms, UnfitUpload, Upload
from data_service.domain.merging import store
from data_service.domain.placing import StoredBars
from data_service.domain.synthetic import universe
from shared.clock import system_clock
from tests.support.stack import Stack, running_stack

ROWS = 1_000_000
FAULTS = 1_000
ROUNDS = 5
REQUESTS = 2_000
CONNECTIONS = 16
JSON_BYTES = 105 << 10  # of 750 rows, the largest of the answers
FORMATS = ("json", "csv", "arrow", "parquet")


def csv_of(rows: int) -> pl.DataFrame:
    """Daily bars of as many symbols as it takes, as a spreadsheet would have them."""
    frames = [
        pl.DataFrame(
            {
                "symbol": [bars.symbol] * len(bars),
                "date": bars.date,
                **{name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume", "adj_close")},
            }
        )
        for bars in universe(rows // 5_000 + 1, 20, 11, calendar_of("XNYS"))
    ]
    return pl.concat(frames).head(rows)


def _upload_to(dataset: Dataset) -> Upload:
    """Of bars that are held against the sessions of New York."""
    return Upload(system_clock(), StoredBars(dataset.snapshot(), calendar_of, "XNYS"), Terms(listing=Listing("XNYS", "USD")))


def import_figures(folder: Path) -> list[tuple[str, str]]:
    frame = csv_of(ROWS)
    whole = frame.write_csv().encode()
    dataset = Dataset(folder / "state", None)
    dataset.open()
    began = time.perf_counter()
    report = store(read_upload([Source("bars.csv", io.BytesIO(whole))], {}, _upload_to(dataset)), dataset)
    taken = time.perf_counter() - began
    assert report.rows == ROWS  # noqa: S101 - a benchmark of something else is none
    before = {symbol: dataset.snapshot()[symbol].data_version for symbol in dataset.snapshot()}
    bad = np.random.default_rng(7).choice(ROWS, FAULTS, replace=False)
    close = frame["close"].cast(pl.String).to_list()
    for row in bad:
        close[row] = "n/a"
    unfit = frame.with_columns(pl.Series("close", close)).write_csv().encode()
    began = time.perf_counter()
    try:
        store(read_upload([Source("bars.csv", io.BytesIO(unfit))], {}, _upload_to(dataset)), dataset)
        named = 0
    except UnfitUpload as refused:
        named = len({error["loc"][-2] for error in refused.errors})
    refusing = time.perf_counter() - began
    after = {symbol: dataset.snapshot()[symbol].data_version for symbol in dataset.snapshot()}
    return [
        (
            f"{ROWS:,} rows of CSV, {len(whole) / 2**20:.0f} MB: checked, also against the calendar, merged, on the disk",
            f"{taken:.2f} s",
        ),
        (f"the same with {FAULTS:,} bad rows: refused", f"{refusing:.2f} s"),
        ("bad rows named", f"{named:,}"),
        ("symbols changed by it", f"{sum(before[symbol] != after.get(symbol) for symbol in before)}"),
    ]


def serving_figures(stack: Stack) -> dict[str, float]:
    """Requests a second of data-service itself, one process, formats taking turns."""
    url = f"{stack.state['urls']['data-service']}/api/v1/bars/AAPL?start_date=2010-03-01&limit=750"
    figures: dict[str, list[float]] = {name: [] for name in FORMATS}
    for _ in range(ROUNDS):
        for name in FORMATS:
            figures[name].append(
                requests_per_second(f"{url}&format={name}", signed(stack, "data-service"), REQUESTS, CONNECTIONS)
            )
    return {name: statistics.median(values) for name, values in figures.items()}


def show(console: Console) -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        rows = import_figures(Path(name))
        with running_stack(Path(name)) as stack:
            figures = serving_figures(stack)
    table = Table("import", "figure")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    table = Table("750 bars as", "requests/s", "× JSON", title=f"{CONNECTIONS} connections, median of {ROUNDS} rounds")
    for name, figure in figures.items():
        table.add_row(name, f"{figure:,.0f}", f"{figure / figures['json']:.2f}")
    most = ceiling(JSON_BYTES, REQUESTS, CONNECTIONS)
    table.add_row(f"the client's own ceiling, {JSON_BYTES >> 10} KiB", f"{most:,.0f}", f"{most / figures['json']:.2f}")
    console.print(table)


if __name__ == "__main__":
    show(Console())
