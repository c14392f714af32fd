"""The bar store on the disk: a source, the rows changed since, and the segments that every process maps.

    manifest.json       what there is; replaced by rename                        (adapters/manifest.py)
    rows/*.parquet      each what one commit changed, in the order of the manifest
    segments/*.npy      the bars as they are mapped, made from source and rows   (adapters/segments.py)
    commit.lock         held while anything of it is changed, by one process at a time

A change is written to new files, which are nothing until the manifest names them. So a process that is killed at any moment
leaves the old or the new; readers go on with what they have mapped, and notice a new manifest at their next look.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

from data_service.adapters.building import build, fingerprint, segment
from data_service.adapters.calendars import calendar_of
from data_service.adapters.manifest import NAME, Manifest, read_manifest, replace_manifest
from data_service.adapters.rows import changed_rows, merge_rows, write_rows
from data_service.adapters.segments import Segment
from data_service.domain.bars import Bars
from data_service.domain.ports import IndexedSnapshot, Loading, Snapshot
from data_service.domain.symbols import SymbolBars, version_of
from shared.logging import get_logger

__all__ = ["Dataset"]

MOST_FILES = 64
"""Small segments, and small files of rows; beyond that they become one."""

_SMALL = 1 << 20
"""Bars of a segment, and bytes of a file of rows."""

_log = get_logger("store")


class MappedSnapshot:
    """The bars of one manifest. Those of the snapshot before that stand where they stood are the very same objects."""

    def __init__(self, manifest: Manifest, segments: dict[str, Segment], before: "MappedSnapshot | None" = None) -> None:
        self.manifest = manifest
        self.segments = segments
        self._keys = sorted(manifest.entries)
        self._bars: dict[str, Bars] = {}
        self._symbols: dict[str, SymbolBars] = {}
        if before is not None:
            old, new = before.manifest.entries, manifest.entries
            self._bars = {key: bars for key, bars in before.read().items() if old[key] == new.get(key)}

    def read(self) -> dict[str, Bars]:
        """What was asked for so far; a copy, for other threads go on asking."""
        return self._bars.copy()

    @cached_property
    def symbols(self) -> Sequence[str]:
        return sorted({key.partition(":")[0] for key in self._keys})

    @cached_property
    def _months(self) -> Mapping[str, list[str]]:
        """Of symbols with bars of less than a day: the keys of those."""
        months: dict[str, list[str]] = {}
        for key in self._keys:
            symbol, colon, _ = key.partition(":")
            if colon:
                months.setdefault(symbol, []).append(key)
        return months

    def of(self, symbol: str) -> SymbolBars:
        found = self._symbols.get(symbol)
        if found is None:
            months = self._months.get(symbol, [])
            parts = [self[key] for key in ([symbol, *months] if symbol in self or not months else months)]
            found = self._symbols[symbol] = SymbolBars.of(parts, calendar_of)
        return found

    def after(self, changed: Sequence[Bars]) -> SymbolBars:
        symbol = changed[0].symbol
        before = self.of(symbol).parts if symbol in self or symbol in self._months else ()
        return SymbolBars.of([*before, *changed], calendar_of)

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """By symbol."""
        entries = self.manifest.entries
        return {
            name: version_of((key, entries[key][3]) for key in ([name] if name in entries else []) + self._months.get(name, []))
            for name in self.symbols
        }

    def __contains__(self, key: object) -> bool:
        return key in self.manifest.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, key: str) -> Bars:
        bars = self._bars.get(key)
        if bars is None:
            there = self.manifest.stretch(key)
            if there.length:
                bars = self.segments[there.segment].bars(key, there)
            else:
                bars = replace(Bars.empty(key), splits=there.splits, listing=there.listing)
            self._bars[key] = bars
        return bars


class Dataset:
    """`source` is a Parquet file or a folder of them (None: the shipped sample)."""

    def __init__(self, folder: Path, source: Path | None, loading: Loading = "memory") -> None:
        self._folder = folder
        self._source = source
        self._loading = loading
        self._current: tuple[tuple[int, int], MappedSnapshot] | None = None

    def open(self, *, as_it_is: bool = False) -> None:
        """Makes the segments where they are missing or made from another source; `UnfitBars` when the source is unfit.

        `as_it_is`: a store that is there is left alone, whatever it was made from.
        """
        for name in ("rows", "segments"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with self._locked():
            manifest = read_manifest(self._folder)
            self._collect(manifest)  # of a build or a commit that did not come to its end
            if manifest is None or not (as_it_is or self._is_made_from_source(manifest)):
                build(self._folder, self._source)
                self._collect(self._newest().manifest)
        del manifest  # or the snapshot's own would be put beside it, and megabytes of gaps stay
        self.touch()

    def touch(self) -> None:
        """With `memory`: has every page of the newest bars in memory. It may take a second, and is harmless beside readers."""
        if self._loading == "memory":
            for mapped in self._newest().segments.values():
                mapped.touch()

    def snapshot(self) -> IndexedSnapshot:
        """The newest bars; a few microseconds while nothing has changed."""
        return self._newest()

    @property
    def generation(self) -> int:
        """Another number after each change."""
        return self._newest().manifest.generation

    def commit(self, change: Callable[[IndexedSnapshot], Sequence[Bars]]) -> list[Bars]:
        """See `domain.ports.BarWriter`."""
        with self._locked():
            before = self._newest()
            changed = [bars for bars in change(before) if _differs(before, bars)]
            if changed:
                self._write(before, changed)
            return changed

    def versions(self) -> Mapping[str, str]:
        """The newest data version of each symbol."""
        return self._newest().versions

    def _newest(self) -> MappedSnapshot:
        while True:
            seen = self._stat()
            current = self._current
            if current is not None and current[0] == seen:
                return current[1]
            manifest = read_manifest(self._folder)
            if manifest is None:
                raise FileNotFoundError(self._folder / NAME)
            try:
                snapshot = self._map(manifest, current[1] if current else None)
            except FileNotFoundError:
                if self._stat() == seen:
                    raise
                continue  # replaced, and its files removed, since we read it
            self._current = seen, snapshot

    def _replace(self, manifest: Manifest, before: MappedSnapshot) -> MappedSnapshot:
        """While the lock is held, so that what is there now is this one."""
        replace_manifest(self._folder, manifest)
        snapshot = self._map(manifest, before)
        self._current = self._stat(), snapshot
        return snapshot

    def _stat(self) -> tuple[int, int]:
        stat = (self._folder / NAME).stat()
        return stat.st_ino, stat.st_mtime_ns

    def _map(self, manifest: Manifest, before: MappedSnapshot | None) -> MappedSnapshot:
        known = before.segments if before else {}
        segments = {name: known.get(name) or Segment(self._folder / "segments" / name) for name in manifest.used}
        return MappedSnapshot(manifest, segments, before)

    def _write(self, before: MappedSnapshot, changed: Sequence[Bars]) -> None:
        old = before.manifest
        self._collect(old)  # of a commit of another process that did not come to its end
        generation = old.generation + 1
        rows = f"{generation:010d}.parquet"
        try:
            write_rows(self._folder / "rows" / rows, changed_rows(before, changed))
            entries = {**old.entries, **segment(self._folder, f"{generation:010d}.npy", list(changed))}
            now = self._replace(Manifest(generation, old.source, (*old.rows, rows), entries), before)
        except BaseException:
            # what is named now, which is the new where only its last step failed
            self._collect(read_manifest(self._folder))
            raise
        try:
            self._tidy(now)
        except OSError as error:
            # the change is made; there is time to tidy up after the next one
            _log.warning("the store is not tidied", error=type(error).__name__)

    def _tidy(self, now: MappedSnapshot) -> None:
        """Many small segments become one, as do spent ones, and many small files of rows; what nobody names is removed."""
        manifest = now.manifest
        small = {name for name, mapped in now.segments.items() if len(mapped) < _SMALL}
        moving = _spent(now) | (small if len(small) > MOST_FILES else set())
        merging = sum(self._is_small(name) for name in manifest.rows) > MOST_FILES
        if moving or merging:
            generation = manifest.generation + 1
            moved = [key for key, (segment_name, *_) in manifest.entries.items() if segment_name in moving]
            entries = dict(manifest.entries)
            if moved:
                entries |= segment(self._folder, f"{generation:010d}.npy", [now[key] for key in moved])
            rows = self._merged(manifest.rows, generation) if merging else manifest.rows
            manifest = self._replace(Manifest(generation, manifest.source, rows, entries), now).manifest
        self._collect(manifest)

    def _merged(self, rows: Sequence[str], generation: int) -> tuple[str, ...]:
        """Each run of small files as one; the large stay where they stand in the order."""
        merged: list[str] = []
        for small, run in groupby(rows, key=self._is_small):
            names = list(run)
            if small and len(names) > 1:
                into = f"{generation:010d}-{len(merged):04d}.parquet"
                merge_rows([self._folder / "rows" / name for name in names], self._folder / "rows" / into)
                names = [into]
            merged += names
        return tuple(merged)

    def _is_small(self, rows: str) -> bool:
        return (self._folder / "rows" / rows).stat().st_size < _SMALL

    def _collect(self, manifest: Manifest | None) -> None:
        """Removes what the manifest does not name: of changes that failed, or that were overtaken."""
        named = {"rows": set(manifest.rows), "segments": set(manifest.used)} if manifest else {"rows": set(), "segments": set()}
        for folder, names in named.items():
            for path in (self._folder / folder).iterdir():
                if path.name not in names:
                    path.unlink()

    def _is_made_from_source(self, manifest: Manifest) -> bool:
        whole = all((self._folder / "segments" / name).exists() for name in manifest.used)
        return whole and manifest.source == fingerprint(self._source)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel gives the lock back when its process dies, however it dies."""
        with (self._folder / "commit.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _spent(now: MappedSnapshot) -> set[str]:
    """Segments of which less than 7 in 10 bars are still used: so all together hold at most 1.43 times the bars there are."""
    used = now.manifest.used
    return {name for name, mapped in now.segments.items() if 10 * used[name] < 7 * len(mapped)}


def _differs(before: Snapshot, bars: Bars) -> bool:
    return bars.key not in before or before[bars.key].data_version != bars.data_version
