"""`kalpi data fetch …` and `kalpi data replay`"""

import asyncio
import datetime as dt
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_service.domain.bars import Bars
from data_service.domain.intervals import StoredInterval
from data_service.providers.backfill import FolderSink, Job, Journal, Report, backfill
from data_service.providers.base import Provider, ProviderError, UnknownSymbol, kalpi_symbol
from data_service.providers.crypto import Crypto, Exchange
from data_service.providers.files import Files
from data_service.providers.replay import Pace, Played, replay
from data_service.providers.yahoo import Yahoo
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events import EventBus
from shared.ids import new_id

__all__ = ["app"]

app = typer.Typer()
fetch = typer.Typer(no_args_is_help=True, help="Histories from a provider into a folder of Parquet files.")
app.add_typer(fetch, name="fetch")

_JOURNAL = "fetch.json"
_CONNECT_S = 10.0
_INTERRUPTED = 130
_DAY = ["%Y-%m-%d"]
Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL…", help="as the provider writes them")]
Start = Annotated[dt.datetime, typer.Option(formats=_DAY, help="the first day")]
End = Annotated[
    dt.datetime | None, typer.Option(formats=_DAY, help="the last day; by default, and at the latest, yesterday (UTC)")
]
Out = Annotated[Path, typer.Option(help="a folder to write to, which DATA_BARS_PATH can name; the same again goes on there")]


@fetch.command()
def yahoo(symbols: Symbols, start: Start, out: Out, end: End = None) -> None:
    """From Yahoo Finance, prices as traded. Needs the extra `yahoo`."""
    with _told():
        _fetch(Yahoo(), symbols, start, end, out)


@fetch.command()
def ccxt(
    symbols: Symbols,
    start: Start,
    out: Out,
    exchange: Annotated[str, typer.Option(help="as ccxt names it: binance, coinbase, kraken, …")],
    end: End = None,
) -> None:
    """Daily candles (UTC) of a crypto exchange: BTC/USDT becomes BTC-USDT. Needs the extra `ccxt`."""
    with _told():
        client = Exchange(exchange)
        _fetch(Crypto(exchange, client.fetch, client.listed), symbols, start, end, out)


@fetch.command("files")
def from_files(
    source: Annotated[Path, typer.Option(exists=True, help="a CSV or Parquet file, or a folder of them")],
    start: Start,
    out: Out,
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL…]", help="by default all that are there")] = None,
    end: End = None,
) -> None:
    """From CSV or Parquet files."""
    with _told():
        provider = Files(source)
        _fetch(provider, symbols or provider.symbols(), start, end, out)


@app.command("replay")
def play(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL…")],
    nats: Annotated[str, typer.Option(envvar="NATS_URL", help="where data-service listens")],
    start: Start,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="final bars a second; by default as fast as they are taken")
    ] = None,
    bars: Annotated[Path | None, typer.Option(exists=True, help="a file or folder of bars; by default the sample")] = None,
    interval: Annotated[StoredInterval, typer.Option(help="of the bars; those of less than a day stand in `--bars`")] = "1day",
    most: Annotated[int | None, typer.Option(min=1, help="end after so many bars")] = None,
    forming: Annotated[
        int, typer.Option(min=0, max=1000, help="states of a bar that is still forming, before each final one")
    ] = 0,
    sequence: Annotated[bool, typer.Option(help="number the bars, so that one sent twice or late is recognised")] = True,  # noqa: FBT002 - a flag
) -> None:
    """Plays stored bars as live bars, in the order of their dates."""
    with _told():
        stored = _stored(bars, symbols, interval)
        played = Played()
        try:
            asyncio.run(_play(nats, stored, start.date(), interval, Pace(speed, forming), most, played, with_sequence=sequence))
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            _console().print(f"{played.bars:,} bars played, the last one of {played.date or '-'}", highlight=False)


async def _play(
    url: str,
    stored: Sequence[Bars],
    start: dt.date,
    interval: StoredInterval,
    pace: Pace,
    most: int | None,
    played: Played,
    *,
    with_sequence: bool,
) -> None:
    # no replay takes a million facts a second, so the numbers of a later one are higher
    first = int(system_clock().timestamp() * 1_000_000)
    async with AsyncExitStack() as stack:
        try:
            # a service waits for its NATS for ever; somebody at a terminal wants to be told
            async with asyncio.timeout(_CONNECT_S):
                bus = await stack.enter_async_context(EventBus(url, service="replay", clock=system_clock, new_id=new_id))
        except TimeoutError as error:
            raise Unavailable("NATS does not answer") from error
        await replay(
            stored,
            start,
            bus,
            pace=pace,
            sleep=asyncio.sleep,
            monotonic=time.monotonic,
            random=random.random,
            new_id=new_id,
            interval=interval,
            most=most,
            with_sequence=with_sequence,
            first_sequence=first,
            played=played,
        )


def _stored(source: Path | None, symbols: Sequence[str], interval: StoredInterval) -> list[Bars]:
    with as_file(files("data_service") / "sample") as sample:
        provider = Files(source or sample, interval)
        return [provider.history(symbol, dt.date.min, dt.date.max) for symbol in dict.fromkeys(map(kalpi_symbol, symbols))]


def _fetch(provider: Provider, symbols: Sequence[str], start: dt.datetime, end: dt.datetime | None, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    job = _job(provider, start.date(), end.date() if end else None, out)
    with _progress() as bar:
        task = bar.add_task(provider.name, total=len(set(symbols)), symbol="")
        report = backfill(
            provider,
            symbols,
            job.start,
            job.end,
            FolderSink(out),
            Journal(out / _JOURNAL, job),
            sleep=time.sleep,
            random=random.random,
            progress=lambda symbol, bars: bar.update(task, advance=1, symbol=f"{symbol}: {bars:,} bars"),
        )
    _say(report, out)
    if report.unknown or report.unfit:
        raise typer.Exit(1)


def _job(provider: Provider, start: dt.date, end: dt.date | None, out: Path) -> Job:
    """A day that is not over everywhere has no final bar yet. A run that goes on the day after keeps its first end."""
    yesterday = system_clock().date() - dt.timedelta(days=1)
    before = Journal.job_of(out / _JOURNAL)
    last = before.end if end is None and before is not None else min(end or yesterday, yesterday)
    if last < start:
        raise ProviderError(f"from {start} to {last} there is no day")
    return Job(provider.name, start, last)


def _say(report: Report, out: Path) -> None:
    console = _console()
    for symbol, why in report.unknown.items():
        console.print(f"{symbol}: {why}", style="yellow", markup=False, highlight=False)
    for symbol, faults in report.unfit.items():
        console.print(f"{symbol} is left out for {len(faults)} faults:", *faults[:20], sep="\n  ", style="yellow", markup=False)
    rows = sum(report.fetched.values())
    done = f"{len(report.fetched)} symbols fetched, {rows:,} bars; {len(report.skipped)} were there: DATA_BARS_PATH={out}"
    console.print(done, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _told() -> Iterator[None]:
    """What can go wrong outside ends in a line and exit code 1."""
    try:
        yield
    except (ProviderError, Unavailable, OSError) as error:
        kind = "unknown: " if isinstance(error, UnknownSymbol) else ""
        _console().print(f"{kind}{error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _console() -> Console:
    return Console(stderr=True)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[symbol]}"), console=_console())
