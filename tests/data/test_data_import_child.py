"""What the tests of imports do in other processes: import, and die at a chosen step of it, or until the disk is full.

Nothing here runs a Polars query when it is imported: a process that has run one is never forked.
"""

import datetime as dt
import itertools
import sys
from pathlib import Path

from data_service.adapters.calendars import calendar_of
from data_service.adapters.dataset import Dataset
from data_service.adapters.uploads import Source, read_upload
from data_service.domain.importing import Upload
from data_service.domain.merging import store
from data_service.domain.placing import StoredBars
from tests.data.dying import die_at

DAY = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
HEADER = "symbol,date,open,high,low,close,volume"


def versions(state: Path) -> dict[str, str]:
    dataset = Dataset(state, None)
    dataset.open()
    snapshot = dataset.snapshot()
    return {symbol: snapshot[symbol].data_version for symbol in snapshot}


def import_and_die(state: Path, file: Path, step: int) -> None:
    """Imports the file, and is killed before the `step`th thing it does to one."""
    dataset = Dataset(state, None)
    dataset.open()
    die_at(step)
    _import(dataset, file)


def _import(dataset: Dataset, file: Path) -> None:
    with file.open("rb") as opened:
        upload = Upload(DAY, StoredBars(dataset.snapshot(), calendar_of))
        store(read_upload([Source(file.name, opened)], {}, upload), dataset)


def import_until_full(state: Path, file: Path) -> None:
    """Imports ever more symbols until the disk is full; prints the error, and whether the store is as it was before."""
    dataset = Dataset(state, None)
    dataset.open()
    days = [str(DAY.date() - dt.timedelta(day)) for day in range(2000)]
    for number in itertools.count():
        before = versions(state)
        lines = [f"FULL{number},{day},{at + 1},{at + 1},{at + 1},{at + 1},{at * 7}" for at, day in enumerate(days)]
        file.write_text("\n".join([HEADER, *lines]))
        try:
            _import(dataset, file)
        except OSError as error:
            sys.stdout.write(f"{number} {error.errno} {versions(state) == before}\n")
            return


if __name__ == "__main__":
    import_until_full(Path(sys.argv[1]), Path(sys.argv[2]))
