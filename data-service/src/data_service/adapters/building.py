"""Making the segments from the source and the rows changed since: at the first start, and when the source is another one."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from secrets import token_hex

import polars as pl

from data_service.adapters.manifest import Entry, Manifest, entry, read_manifest, replace_manifest
from data_service.adapters.parquet import SPLITS, read_files, read_splits, sample_path, source_files
from data_service.adapters.rows import apply_rows, read_rows
from data_service.adapters.segments import sync_folder, write_segment
from data_service.domain.bars import Bars
from data_service.domain.errors import UnfitBars

__all__ = ["build", "fingerprint", "segment"]

_LARGE = 32 << 20


def fingerprint(source: Path | None) -> str:
    """Of the source's files by name, size and time; of the shipped sample by its bytes."""
    digest = hashlib.blake2b(digest_size=16)
    if source is None:
        with sample_path() as folder:
            for path in sorted(folder.iterdir()):
                digest.update(path.read_bytes())
    else:
        beside = source.parent / SPLITS
        for path in sorted(source.iterdir()) if source.is_dir() else [source, *([beside] if beside.exists() else [])]:
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def build(folder: Path, source: Path | None) -> None:
    """Replaces the manifest. UnfitBars names every fault of the source, and nothing is changed.

    A large source is read in a process of its own: the memory that takes ends with it.
    """
    if source is None or sum(path.stat().st_size for path in source_files(source)) < _LARGE:
        manifest = _built(folder, source)
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            manifest = pool.submit(_built, folder, source).result()
    # here, where the lock is held: a process that outlived its parent has made files that nobody names
    replace_manifest(folder, manifest)


def segment(folder: Path, name: str, series: list[Bars]) -> dict[str, Entry]:
    """Writes the segment `name`; where each symbol stands in it."""
    firsts = write_segment(folder / "segments" / name, series)
    sync_folder(folder / "segments")
    return {bars.symbol: entry(name, first, bars) for bars, first in zip(series, firsts, strict=True)}


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
    with _files(source) as groups:
        for number, group in enumerate(groups):
            try:
                found = {bars.symbol: bars for bars in group}
            except UnfitBars as error:
                faults += error.faults
                continue
            for frame in changed:
                found |= {
                    bars.symbol: bars for bars in apply_rows(found, frame.filter(pl.col("symbol").is_in(list(found))), anew=anew)
                }
            series |= segment(folder, f"{name}-{number:04d}.npy", list(found.values()))
    if faults:
        raise UnfitBars(faults)
    own: dict[str, Bars] = {}
    for frame in changed:
        own |= {bars.symbol: bars for bars in apply_rows(own, frame.filter(~pl.col("symbol").is_in(list(series))), anew=anew)}
    if own:
        series |= segment(folder, f"{name}-own.npy", list(own.values()))
    return Manifest(generation, print_of_source, rows, series)


@contextmanager
def _files(source: Path | None) -> Iterator[Iterator["_Group"]]:
    if source is None:
        with sample_path() as folder:
            yield _groups(folder)
    else:
        yield _groups(source)


class _Group:
    """Files that are read together; each symbol is in one group alone. Iterating reads them, and may raise UnfitBars."""

    def __init__(self, paths: list[Path], source: Path) -> None:
        self._paths = paths
        self._source = source

    def __iter__(self) -> Iterator[Bars]:
        return iter(read_files(self._paths, read_splits(self._source)))


def _groups(source: Path) -> Iterator[_Group]:
    """File by file where no symbol is in two of them, which bounds the memory; else all at once."""
    paths = source_files(source)
    if len(paths) > 1 and not _overlap(paths):
        for path in paths:
            yield _Group([path], source)
    else:
        yield _Group(paths, source)


def _overlap(paths: list[Path]) -> bool:
    files: Counter[str] = Counter()
    for path in paths:
        try:
            files.update(pl.scan_parquet(path).select(pl.col("symbol").cast(pl.String).unique()).collect()["symbol"].drop_nulls())
        except pl.exceptions.PolarsError:
            return True  # unfit, and named with all the others when they are read
    return any(times > 1 for times in files.values())
