"""`kalpi data …`"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from data_service.adapters.calendars import calendar_of
from data_service.adapters.dataset import Dataset
from data_service.adapters.parquet import write_dataset
from data_service.adapters.uploads import Source, read_upload
from data_service.domain.bars import Listing
from data_service.domain.errors import UnfitBars, UnknownExchange
from data_service.domain.importing import COLUMNS, Terms, UnfitUpload, Upload
from data_service.domain.intervals import StoredInterval
from data_service.domain.merging import Report, store
from data_service.domain.placing import StoredBars
from data_service.domain.synthetic import universe
from data_service.providers import commands as providers
from shared.clock import system_clock

__all__ = ["app"]

_SHOWN = 20

app = typer.Typer(no_args_is_help=True, help="Bars: bring some in, or make some.")


def _exchange(name: str) -> str:
    try:
        calendar_of(name)
    except UnknownExchange as error:
        raise typer.BadParameter(error.detail) from None
    return name


@app.command()
def synth(
    symbols: Annotated[int, typer.Option(min=1, max=100_000, help="how many symbols")],
    years: Annotated[int, typer.Option(min=1, max=50, help="how many years of sessions")],
    out: Annotated[Path, typer.Option(help="a folder to write to; must not hold anything yet")] = Path("synthetic"),
    seed: Annotated[int, typer.Option(min=0, help="the same seed makes the same bars")] = 1,
    exchange: Annotated[str, typer.Option(help="whose sessions and holidays they have", parser=_exchange)] = "XNYS",
) -> None:
    """Writes a deterministic synthetic universe, which DATA_BARS_PATH can name."""
    console = Console(stderr=True)
    if out.exists() and any(out.iterdir()):
        console.print(f"{out} already holds something; choose another folder with --out", style="red", highlight=False)
        raise typer.Exit(1)
    made = track(universe(symbols, years, seed, calendar_of(exchange)), total=symbols, description="making bars", console=console)
    rows = write_dataset(out, made)
    console.print(f"{symbols} symbols, {rows:,} bars: DATA_BARS_PATH={out}", highlight=False)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or Parquet")],
    state: Annotated[Path, typer.Option(envvar="DATA_STATE_DIR", help="the store's folder")],
    bars: Annotated[Path | None, typer.Option(envvar="DATA_BARS_PATH", help="what the store was made from")] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", help="ticker=symbol: what a column is; exchange= leaves it out")
    ] = None,
    interval: Annotated[StoredInterval, typer.Option(help="of the bars; those of less than a day bear their beginning")] = "1day",
    exchange: Annotated[
        str | None, typer.Option(help="where the symbols are listed: XNYS, XLON, …, or 24/7", parser=_exchange)
    ] = None,
    currency: Annotated[str | None, typer.Option(help="of the prices: USD, EUR, …")] = None,
    *,
    calendar: Annotated[
        bool, typer.Option(help="whether a bar outside the exchange's sessions, or a session missing, is a fault")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, change nothing")] = False,
) -> None:
    """Imports bars: every row, or none and each fault named. It may run beside the service, which notices."""
    mapping = dict(_assignment(text) for text in columns or [])
    terms = Terms(interval, Listing(exchange, currency), check_calendar=calendar)
    errors = Console(stderr=True)
    try:
        report = _import(files, mapping, Dataset(state, bars, "mmap"), terms, errors, dry_run=dry_run)
    except UnfitUpload as unfit:
        _show_faults(errors, unfit)
        raise typer.Exit(1) from None
    except (UnfitBars, OSError) as error:
        errors.print(f"nothing is imported: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    _show(Console(), report)


def _assignment(text: str) -> tuple[str, str | None]:
    name, separator, column = text.partition("=")
    if not (name and separator) or (column and column not in COLUMNS):
        raise typer.BadParameter(f"{text!r}: name=column, with one of {', '.join(COLUMNS)}", param_hint="--map")
    return name, column or None


def _import(
    files: list[Path], mapping: dict[str, str | None], dataset: Dataset, terms: Terms, console: Console, *, dry_run: bool
) -> Report:
    dataset.open(as_it_is=True)
    parts = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as opened, Progress(*parts, console=console, transient=True) as progress:
        sources = [Source(path.name, opened.enter_context(path.open("rb"))) for path in files]
        reading = progress.add_task("reading", total=sum(path.stat().st_size for path in files))
        advance: Callable[[int], object] = lambda read: progress.advance(reading, read)  # noqa: E731 - its type is said
        upload = Upload(system_clock(), StoredBars(dataset.snapshot(), calendar_of, terms.listing.exchange), terms)
        rows = read_upload(sources, mapping, upload, advance)
        progress.update(reading, description="storing")
        return store(rows, dataset, dry_run=dry_run)


def _show(console: Console, report: Report) -> None:
    table = Table("symbol", "added", "corrected", "bars", "first", "last")
    for change in report.changed[:_SHOWN]:
        after = change.after
        numbers = (change.added, change.corrected, after.rows, after.first_day, after.last_day)
        table.add_row(after.symbol, *map(str, numbers))
    if report.changed:
        console.print(table)
    if len(report.changed) > _SHOWN:
        console.print(f"and {len(report.changed) - _SHOWN:,} more", highlight=False)
    would = "would change" if report.dry_run else "changed"
    console.print(f"{report.rows:,} rows of {report.symbols:,} symbols: {len(report.changed):,} symbols {would}", highlight=False)


def _show_faults(console: Console, unfit: UnfitUpload) -> None:
    table = Table("file", "row", "column", "fault")
    for fault in unfit.faults[:_SHOWN]:
        table.add_row(escape(fault.file), str(fault.row or ""), escape(fault.column or ""), escape(fault.reason))
    console.print(table)
    more = f", the first {_SHOWN} of them above" if unfit.count > _SHOWN else ""
    console.print(f"nothing is imported: {unfit.count:,} faults{more}", style="red", highlight=False)


app.add_typer(providers.app)
