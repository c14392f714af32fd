"""Histories of many symbols, fetched one after the other, so that a run that was killed goes on where it stopped.

A symbol is taken in three steps: its file and its splits are replaced, each by rename, and then the journal, by rename too, says
that it is done. Killed between any two of them, the next run takes the symbol again and replaces the same files by the same: what
is done is never lost, what is done twice is never there twice.
"""

import datetime as dt
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import orjson
import polars as pl

from data_service.domain.bars import PRICES, Bars
from data_service.domain.checks import faults_of
from data_service.providers.backoff import Backoff, Random, Sleep, persist
from data_service.providers.base import Provider, ProviderError, UnknownSymbol, kalpi_symbol

__all__ = ["FolderSink", "Job", "Journal", "OtherJob", "Progress", "Report", "Sink", "backfill"]

Progress = Callable[[str, int], None]
"""Called for every symbol when it is settled: the symbol, and the number of its bars that are stored now."""

_SPLITS = "splits.csv"
_SPLIT_COLUMNS = {"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64}


class OtherJob(ProviderError):
    """The folder holds what another job has fetched, and this one would replace a part of it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What must be the same for one run to go on where another stopped. Both dates are included."""

    provider: str
    start: dt.date
    end: dt.date


class Journal:
    """`done` is each finished symbol of Kalpi's with the number of its bars; one that failed is not in it, and is tried again."""

    def __init__(self, path: Path, job: Job) -> None:
        """Raises `OtherJob`, and OSError."""
        self._path = path
        self._job = job
        self.done: dict[str, int] = {}
        if (before := self.job_of(path)) is not None:
            if before != job:
                raise OtherJob(
                    f"{path.parent} holds {before.provider} from {before.start} to {before.end}; choose another folder"
                )
            self.done = orjson.loads(path.read_bytes())["done"]

    @staticmethod
    def job_of(path: Path) -> Job | None:
        """The job a journal is of; None where there is none yet. ProviderError for a file that is none."""
        if not path.exists():
            return None
        try:
            text = orjson.loads(path.read_bytes())
            return Job(text["provider"], dt.date.fromisoformat(text["start"]), dt.date.fromisoformat(text["end"]))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ProviderError(f"{path} is not a journal of a fetch") from error

    def note(self, symbol: str, bars: int) -> None:
        """Returns once it is on the disk."""
        self.done[symbol] = bars
        job = {"provider": self._job.provider, "start": self._job.start, "end": self._job.end}
        _replace(self._path, orjson.dumps({**job, "done": self.done}, option=orjson.OPT_INDENT_2))


class Sink(Protocol):
    def put(self, bars: Bars) -> None:
        """Durable when it returns. A symbol's bars are replaced whole: putting the same ones again changes nothing."""
        ...


class FolderSink:
    """One `<SYMBOL>.parquet` each and one `splits.csv`: a folder that DATA_BARS_PATH can name. For one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, bars: Bars) -> None:
        numbers = {name: getattr(bars, name) for name in (*PRICES, "volume", "adj_close")}
        frame = pl.DataFrame({"symbol": [bars.symbol] * len(bars), "date": bars.date, **numbers})
        part = self._folder / f".{bars.symbol}.part"
        frame.write_parquet(part, compression="zstd")
        _rename(part, self._folder / f"{bars.symbol}.parquet")
        self._put_splits(bars)

    def _put_splits(self, bars: Bars) -> None:
        path = self._folder / _SPLITS
        before = pl.read_csv(path, schema=_SPLIT_COLUMNS) if path.exists() else pl.DataFrame(schema=_SPLIT_COLUMNS)
        rows = [(bars.symbol, split.date.item(), split.ratio) for split in bars.splits]
        own = pl.DataFrame(rows, schema=_SPLIT_COLUMNS, orient="row")
        after = pl.concat([before.filter(pl.col("symbol") != bars.symbol), own]).sort("symbol", "date")
        if not after.equals(before):
            _replace(path, after.write_csv().encode())


@dataclass(slots=True)
class Report:
    """Each of the symbols asked for, as the provider writes it, is in exactly one of the four."""

    fetched: dict[str, int] = field(default_factory=dict)
    """and the number of its bars, which may be none"""
    skipped: list[str] = field(default_factory=list)
    """were done before"""
    unknown: dict[str, str] = field(default_factory=dict)
    """and what the provider said"""
    unfit: dict[str, list[str]] = field(default_factory=dict)
    """and every fault: the bar store would refuse the folder for them, so nothing of the symbol is written"""


def backfill(
    provider: Provider,
    symbols: Sequence[str],
    start: dt.date,
    end: dt.date,
    sink: Sink,
    journal: Journal,
    *,
    sleep: Sleep,
    random: Random,
    backoff: Backoff | None = None,
    progress: Progress = lambda _symbol, _bars: None,
) -> Report:
    """Raises `ProviderAway` when the provider stays away, and other `ProviderError`s; the next run goes on from there."""
    backoff = backoff or Backoff()
    report = Report()
    for native, symbol in _mapped(symbols).items():
        if symbol in journal.done:
            report.skipped.append(native)
            progress(native, journal.done[symbol])
            continue
        try:
            bars = persist(partial(provider.history, native, start, end), backoff, sleep=sleep, random=random)
        except UnknownSymbol as error:
            report.unknown[native] = str(error)
            progress(native, 0)
            continue
        stored = 0
        if faults := faults_of(bars):
            report.unfit[native] = faults
        else:
            stored = _take(bars, sink, journal)
            report.fetched[native] = stored
        progress(native, stored)
    return report


def _take(bars: Bars, sink: Sink, journal: Journal) -> int:
    if len(bars):
        sink.put(bars)
    # only now: a symbol that is noted is one whose bars are on the disk
    journal.note(bars.symbol, len(bars))
    return len(bars)


def _mapped(symbols: Sequence[str]) -> dict[str, str]:
    """Kalpi's symbol of each, in order, before anything is fetched; ProviderError when two become the same."""
    mapped = {native: kalpi_symbol(native) for native in symbols}
    natives: dict[str, str] = {}
    for native, symbol in mapped.items():
        if (other := natives.setdefault(symbol, native)) != native:
            raise ProviderError(f"{other} and {native} would both become {symbol}")
    return mapped


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    _rename(part, path)


def _rename(part: Path, path: Path) -> None:
    """Whoever looks sees the old file or the whole new one, also after a power cut."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
