"""Making the segments from the source and the rows changed since: at the first start, and when the source is another one."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from secrets import token_hex

import polars as pl

from data_service.adapters.manifest import Entry, Manifest, entry, read_manifest, replace_manifest
from data_service.adapters.parquet import Beside, read_beside, read_files, sample_path, source_files, source_paths, with_beside
from data_service.adapters.rows import apply_rows, read_rows
from data_service.adapters.segments import sync_folder, write_segment
from data_service.domain.bars import Bars
from data_service.domain.errors import UnfitBars
from data_service.domain.intervals import StoredInterval

__all__ = ["build", "fingerprint", "segment"]

_LARGE = 32 << 20


def fingerprint(source: Path | None) -> str:
    """Of the source's files by name, size and time; of the shipped sample by its bytes."""
    digest = hashlib.blake2b(digest_size=16)
    if source is None:
        with sample_path() as folder:
            for path in source_paths(folder):
                digest.update(path.read_bytes())
    else:
        folder = source if source.is_dir() else source.parent
        for path in source_paths(source):
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def build(folder: Path, source: Path | None) -> None:
    """Replaces the manifest. UnfitBars names every fault of the source, and nothing is changed.

    A large source is read in a process of its own: the memory that takes ends with it.
    """
    if source is None or sum(path.stat().st_size for path in source_paths(source)) < _LARGE:
        manifest = _built(folder, source)
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            manifest = pool.submit(_built, folder, source).result()
    # here, where the lock is held: a process that outlived its parent has made files that nobody names
    replace_manifest(folder, manifest)


def segment(folder: Path, name: str, series: list[Bars]) -> dict[str, Entry]:
    """Writes the segment `name`; where the bars of each key stand in it."""
    entries = {bars.key: entry("", 0, bars) for bars in series if not len(bars)}
    if filled := [bars for bars in series if len(bars)]:
        firsts = write_segment(folder / "segments" / name, filled)
        sync_folder(folder / "segments")
        entries |= {bars.key: entry(name, first, bars) for bars, first in zip(filled, firsts, strict=True)}
    return entries


def _built(folder: Path, source: Path | None) -> Manifest:
    print_of_source = fingerprint(source)
    old = read_manifest(folder)
    generation = old.generation + 1 if old else 1
    name = f"{generation:010d}-{token_hex(4)}"
    anew = old is not None and old.source != print_of_source
    rows = old.rows if old else ()
    changed = [read_rows(folder / "rows" / name) for name in rows]
    series: dict[str, Entry] = {}
    faults: list[str] = []
    with _folder(source) as there:
        for number, group in enumerate(_groups(there)):
            try:
                found = {bars.key: bars for bars in group}
            except UnfitBars as error:
                faults += error.faults
                continue
            for frame in changed:
                found |= {bars.key: bars for bars in apply_rows(found, frame.filter(pl.col("key").is_in(list(found))), anew=anew)}
            series |= segment(folder, f"{name}-{number:04d}.npy", list(found.values()))
        own = _without_days(read_beside(there), series)
    if faults:
        raise UnfitBars(faults)
    for frame in changed:
        own |= {bars.key: bars for bars in apply_rows(own, frame.filter(~pl.col("key").is_in(list(series))), anew=anew)}
    # what is known beside bars is kept in the rows, and comes back with them
    held = {key.partition(":")[0] for key in series.keys() | {key for key, bars in own.items() if len(bars)}}
    own = {key: bars for key, bars in own.items() if bars.symbol in held}
    if own:
        series |= segment(folder, f"{name}-own.npy", list(own.values()))
    return Manifest(generation, print_of_source, rows, series)


def _folder(source: Path | None) -> AbstractContextManager[Path]:
    return sample_path() if source is None else nullcontext(source)


def _without_days(beside: Beside, entries: Mapping[str, Entry]) -> dict[str, Bars]:
    """What the source knows beside the bars of symbols that it has only bars of less than a day of."""
    symbols = {key.partition(":")[0] for key in entries} - entries.keys()
    return {symbol: with_beside(Bars.empty(symbol), beside) for symbol in symbols}


class _Group:
    """Files that are read together; each key is in one group alone. Iterating reads them, and may raise UnfitBars."""

    def __init__(self, paths: list[Path], beside: Beside, interval: StoredInterval) -> None:
        self._paths = paths
        self._beside = beside
        self._interval = interval

    def __iter__(self) -> Iterator[Bars]:
        return iter(read_files(self._paths, self._beside, self._interval))


def _groups(source: Path) -> Iterator[_Group]:
    """File by file where no symbol is in two of them, which bounds the memory; else all of an interval at once."""
    beside = read_beside(source)
    for interval, paths in source_files(source).items():
        apart = len(paths) > 1 and not _overlap(paths)
        for group in [[path] for path in paths] if apart else [paths]:
            yield _Group(group, beside, interval)


def _overlap(paths: list[Path]) -> bool:
    files: Counter[str] = Counter()
    for path in paths:
        try:
            files.update(pl.scan_parquet(path).select(pl.col("symbol").cast(pl.String).unique()).collect()["symbol"].drop_nulls())
        except pl.exceptions.PolarsError:
            return True  # unfit, and named with all the others when they are read
    return any(times > 1 for times in files.values())
