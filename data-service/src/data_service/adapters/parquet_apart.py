"""Parquet files of others, read in a process of their own.

Polars ends the whole process (abort) over some damaged files, and what a file unpacks to is only what it says of itself. So a
file that nobody here has written is read by a process that may end, and has memory of its own: half of what there is for this
one and its container, so that it is refused what it asks for before the kernel ends one of the two.
"""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from typing import Any, BinaryIO, TypeVar

import polars as pl

from data_service.adapters.memory import memory_bound

__all__ = ["ParquetFile", "ReaderEnded", "Unreadable", "opened_apart"]

_MOST_MEMORY = 6 << 30
_LONGEST_TEXT = 256
_TOO_LONG = "(too long)"
_Asked = TypeVar("_Asked")


class Unreadable(Exception):
    """Not a Parquet file, or a damaged one."""


class ReaderEnded(Unreadable):
    """So damaged that its reader ended, or wanted more than it may have, `memory` bytes: it cannot be told which."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self.memory = memory


@dataclass(frozen=True, slots=True)
class _Reader:
    pool: Executor
    memory: int

    def ask(self, question: Callable[..., _Asked], *about: Any) -> _Asked:
        try:
            return self.pool.submit(question, *about).result()
        except (BrokenProcessPool, MemoryError, OSError, RuntimeError, ValueError) as error:
            raise ReaderEnded(self.memory) from error


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """`names` and `rows` as its footer says."""

    names: list[str]
    rows: int
    _descriptor: int
    _reader: _Reader

    def pieces(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """So many rows at a time."""
        for first in range(0, self.rows, rows):
            yield self._reader.ask(_piece, DupFd(self._descriptor), columns, first, rows)


@contextmanager
def opened_apart(file: BinaryIO) -> Iterator[ParquetFile]:
    """`file` has a descriptor, and is not to be used meanwhile. `Unreadable` may come at each piece."""
    descriptor = file.fileno()
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what each reader imports, imported once
    memory = min(memory_bound() // 2, _MOST_MEMORY)
    with ProcessPoolExecutor(1, mp_context=context, initializer=_bound_memory, initargs=(memory,)) as pool:
        reader = _Reader(pool, memory)
        try:
            yield ParquetFile(*reader.ask(_shape, DupFd(descriptor)), descriptor, reader)
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)  # shared with the reader; `file` relies on it


def _bound_memory(memory: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = memory if most == resource.RLIM_INFINITY else min(most, memory)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def _shape(file: Any) -> tuple[list[str], int]:
    return _read(file, lambda frame: (frame.collect_schema().names(), frame.select(pl.len()).collect().item()))


def _piece(file: Any, columns: Sequence[str], first: int, rows: int) -> pl.DataFrame:
    def ask(frame: pl.LazyFrame) -> pl.DataFrame:
        schema = frame.collect_schema()
        return frame.select([_bounded(name, schema[name]) for name in columns]).slice(first, rows).collect()

    return _read(file, ask)


def _bounded(name: str, kind: pl.DataType) -> pl.Expr:
    """The column, without what may be far more than there is of it in the file, where the same again and again is there once:
    texts that are too long, and kinds that have parts. Both are unfit, as they would be whole."""
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        text = pl.col(name).cast(pl.String)
        return pl.when(text.str.len_bytes() > _LONGEST_TEXT).then(pl.lit(_TOO_LONG)).otherwise(text).alias(name)
    return pl.lit(None, kind).alias(name) if kind.is_nested() or isinstance(kind, pl.Binary) else pl.col(name)


def _read(file: Any, ask: Callable[[pl.LazyFrame], _Asked]) -> _Asked:
    with os.fdopen(file.detach(), "rb") as opened:
        opened.seek(0)
        try:
            return ask(pl.scan_parquet(opened))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
            raise Unreadable(str(error)) from None
