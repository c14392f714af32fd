"""Segments: bars as every process maps them, immutable once written.

A segment is a NumPy file (numpy.lib.format) of int64 with seven rows: the dates, then the bits of open, high, low, close, volume
and adj_close; the bars of each key have their stretch of columns. So one symbol's column is contiguous, a slice of it copies
nothing, and processes that map the same file share its pages (docs/adr/0009)."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_service.domain.bars import NUMBERS, Bars, Listing, Split

__all__ = ["Segment", "SegmentWriter", "Stretch", "sync_folder", "write_segment", "writing_segment"]

_ROWS = 1 + len(NUMBERS)
_WORD = 8
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Stretch:
    """`length` bars of one key from `first` on in a segment, and what is known beside them; of no bars, no segment."""

    segment: str
    first: int
    length: int
    version: str
    splits: tuple[Split, ...]
    listing: Listing


class SegmentWriter:
    """Writes, rather than maps and fills: on a full disk that is an OSError, where the other would be a SIGBUS."""

    def __init__(self, descriptor: int, length: int) -> None:
        header = io.BytesIO()
        shape = {"descr": "<i8", "fortran_order": False, "shape": (_ROWS, length)}
        np.lib.format.write_array_header_1_0(header, shape)
        self._descriptor = descriptor
        self._length = length
        self._start = len(header.getvalue())
        self._end = 0
        _write(descriptor, header.getvalue(), 0)

    def add(self, bars: Bars) -> int:
        """Where its stretch begins."""
        first = self._end
        dates = bars.date.astype(Bars.unit(bars.key)).view(np.int64)
        columns = [dates, *(getattr(bars, name) for name in NUMBERS)]
        for row, column in enumerate(columns):
            _write(self._descriptor, np.ascontiguousarray(column).view(np.uint8).data, self._at(row, first))
        self._end += len(bars)
        return first

    def _at(self, row: int, column: int) -> int:
        return self._start + (row * self._length + column) * _WORD


def _write(descriptor: int, data: bytes | memoryview, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, at)
        left, at = left[written:], at + written


@contextmanager
def writing_segment(path: Path, length: int) -> Iterator[SegmentWriter]:
    """A new segment for `length` bars in all; on the disk when the block has ended, gone when it has failed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield SegmentWriter(descriptor, length)
        os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def write_segment(path: Path, series: Sequence[Bars]) -> list[int]:
    """Where each stretch begins."""
    with writing_segment(path, sum(map(len, series))) as writer:
        return [writer.add(bars) for bars in series]


class Segment:
    """A mapped segment. It stays readable while anything uses it, also when its file has been removed."""

    def __init__(self, path: Path) -> None:
        """FileNotFoundError when it has been removed; ValueError when it is no segment."""
        block: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
        if block.dtype != np.int64 or block.ndim != 2 or block.shape[0] != _ROWS:
            raise ValueError(f"{path.name} is not a segment")
        self._block = block.view(np.ndarray)
        self._touched = False

    def __len__(self) -> int:
        return int(self._block.shape[1])

    def touch(self) -> None:
        """Has every page in memory, so that no read waits for the disk; once."""
        if not self._touched:
            self._block.reshape(-1)[:: _PAGE // _WORD].sum()
            self._touched = True

    def bars(self, key: str, stretch: Stretch) -> Bars:
        """One key's, as views."""
        block = self._block[:, stretch.first : stretch.first + stretch.length]
        numbers = {name: block[row].view(np.float64) for row, name in enumerate(NUMBERS, start=1)}
        bars = Bars(key, block[0].view(Bars.unit(key)), splits=stretch.splits, listing=stretch.listing, **numbers)
        # known since it was written; hashing 26 million bars at each start would cost seconds
        vars(bars)["data_version"] = stretch.version
        return bars


def sync_folder(folder: Path) -> None:
    """Returns once the names in the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
