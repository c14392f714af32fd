"""The manifest: which bars there are and where they stand, replaced whole by rename.

It is the one thing that decides: a file it does not name is not there, whoever wrote it, and everything it names was on the disk
before it was.
"""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from data_service.adapters.segments import Stretch, sync_folder
from data_service.domain.bars import Bars, Listing, Split
from data_service.domain.errors import UnfitBars

__all__ = ["NAME", "Entry", "Manifest", "entry", "read_manifest", "replace_manifest"]

NAME = "manifest.json"
_FORMAT = 2

Entry = list[Any]
"""As it stands in the file: segment, first, length, version, splits, exchange, currency. What is asked for is made a `Stretch`;
5,000 are not."""


@dataclass(frozen=True)
class Manifest:
    """`source` says what the files were that the dataset was first made from. `rows` are the Parquet files of what was changed
    since, oldest first: together they are the dataset; the segments are made from them."""

    generation: int
    source: str
    rows: tuple[str, ...]
    entries: dict[str, Entry]

    def stretch(self, key: str) -> Stretch:
        """KeyError for a key that is not there."""
        segment, first, length, version, splits, exchange, currency = self.entries[key]
        known = tuple(Split(np.datetime64(day, "D"), ratio) for day, ratio in splits)
        return Stretch(segment, first, length, version, known, Listing(exchange, currency))

    @cached_property
    def used(self) -> Counter[str]:
        """How many bars of each segment are."""
        used: Counter[str] = Counter()
        for segment, _first, length, *_ in self.entries.values():
            if length:
                used[segment] += length
        return used


def entry(segment: str, first: int, bars: Bars) -> Entry:
    splits = [[str(split.date), split.ratio] for split in bars.splits]
    return [segment, first, len(bars), bars.data_version, splits, bars.listing.exchange, bars.listing.currency]


def read_manifest(folder: Path) -> Manifest | None:
    """None where there is none yet; `UnfitBars` for one of another release, whose rows this one would not read."""
    try:
        written = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    with _without_collector():
        document = orjson.loads(written)
    if document["format"] != _FORMAT:
        raise UnfitBars([f"{folder / NAME} is of another release; move the folder away, or start that release"])
    return Manifest(document["generation"], document["source"], tuple(document["rows"]), document["series"])


@contextmanager
def _without_collector() -> Iterator[None]:
    """Of 60,000 new lists, none of which is garbage, the collector would look at each some ten times: five sixths of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def replace_manifest(folder: Path, manifest: Manifest) -> None:
    """Returns once the new one is on the disk and every process that looks finds it."""
    document = {
        "format": _FORMAT,
        "generation": manifest.generation,
        "source": manifest.source,
        "rows": manifest.rows,
        "series": manifest.entries,
    }
    new = folder / f"{NAME}.new"
    with new.open("wb") as file:
        file.write(orjson.dumps(document))
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / NAME)
    sync_folder(folder)
