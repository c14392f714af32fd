"""CSV and Parquet files as somebody brings them: their columns found, and read in pieces for `domain.importing` to judge.

A file is what its first bytes say it is. A CSV file is UTF-8 with a header, separated by commas, semicolons or tabs; a line is a
row, so a quoted field holds neither a separator nor a line break, which nothing in a bar needs. Memory is bounded: a CSV file is
read 16 MiB at a time, a Parquet file by the rows and bytes that its own footer declares.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import polars as pl

from data_service.adapters.memory import memory_bound
from data_service.adapters.parquet_apart import ReaderEnded, Unreadable, opened_apart
from data_service.adapters.parquet_footer import unpacked_bytes
from data_service.domain.importing import ACTIONS, COLUMNS, MISSING, OF_DAYS, REQUIRED, TWICE, UNKNOWN, Fault, Rows, Upload

__all__ = ["MOST_ROWS", "ColumnMap", "Source", "read_upload", "rows_within"]

MOST_ROWS = 10_000_000
"""Of a file."""
_MOST_UNPACKED = 2 << 30
_BESIDE_ROWS = 512 << 20
"""What the service and a reader of Parquet take without any row."""
_BYTES_A_ROW = 350
"""Measured: 310 at the peak, when all are sorted and merged."""
_FEWEST_ROWS = 250_000
_PIECE = 16 << 20
_PIECE_ROWS = 500_000
_LONGEST_LINE = 64 << 10
_MOST_FIELDS = _PIECE + _LONGEST_LINE
"""Of a piece. Each takes a byte at least, with what is between them: only lines that have fewer than the header come to more."""
_BOM = b"\xef\xbb\xbf"
_PARQUET = b"PAR1"
_ALIASES = {
    "ticker": "symbol",
    "day": "date",
    "datetime": "date",
    "vol": "volume",
    "adjclose": "adj_close",
    "adjusted_close": "adj_close",
    "dividends": "dividend",
    "split_ratio": "split",
    "stock_splits": "split",
}

ColumnMap = Mapping[str, str | None]
"""What a file's columns are: one of `COLUMNS`, or None to leave the column out."""


@dataclass(frozen=True, slots=True)
class Source:
    """`name` is how faults call it; `file` is at its beginning, and stays open. One of Parquet has a descriptor."""

    name: str
    file: BinaryIO


class _Unfit(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


def read_upload(
    sources: Sequence[Source], mapping: ColumnMap, upload: Upload, progress: Callable[[int], object] = lambda _read: None
) -> Rows:
    """`UnfitUpload` names every fault of every file. `progress` is told by how many bytes reading went on."""
    most, rows = rows_within(memory_bound()), 0
    for source in _named_apart(sources):
        try:
            start = source.file.read(len(_PARQUET))
            source.file.seek(0)
            frames = _parquet if start == _PARQUET else _csv
            for raw, read in frames(source, mapping, upload):
                rows = _no_more_than(most, rows + raw.height)
                upload.add(source.name, raw)
                progress(read)
        except _Unfit as unfit:
            upload.faults.add(Fault(source.name, unfit.row, None, unfit.reason))
    return upload.rows()


def rows_within(memory: int) -> int:
    """How many an import may have so that it is refused before the kernel ends the service."""
    return max((memory - _BESIDE_ROWS) // _BYTES_A_ROW, _FEWEST_ROWS)


def _no_more_than(most: int, rows: int) -> int:
    if rows > most:
        raise _Unfit(f"more than {most:,} rows in all, for which there is no memory")
    return rows


def _named_apart(sources: Sequence[Source]) -> Iterator[Source]:
    names: set[str] = set()
    for source in sources:
        name, number = source.name, 1
        while name in names:
            number += 1
            name = f"{source.name} ({number})"
        names.add(name)
        yield Source(name, source.file)


_Pieces = Iterator[tuple[pl.DataFrame, int]]


def _csv(source: Source, mapping: ColumnMap, upload: Upload) -> _Pieces:
    header = source.file.readline(_LONGEST_LINE)
    line, separator = 2, _separator(header)
    columns = _columns(source.name, _header(header, separator), mapping, upload)
    read, rows = len(header), 0
    while piece := source.file.read(_PIECE):
        rest = source.file.readline(_LONGEST_LINE)
        piece += rest
        if len(rest) == _LONGEST_LINE:
            raise _Unfit(f"a line longer than {_LONGEST_LINE:,} bytes", line + piece.count(b"\n"))
        if piece.count(b"\n") * len(columns) > _MOST_FIELDS:  # what a line does not have takes memory, too
            raise _Unfit("too many lines with fewer fields than the header", line)
        frame = _lines(piece, len(columns), separator).with_columns(row=pl.int_range(line, line + pl.len(), dtype=pl.UInt32))
        line += frame.height
        rows += frame.height
        if rows > MOST_ROWS:
            raise _Unfit(f"more than {MOST_ROWS:,} rows")
        frame = frame.filter(pl.any_horizontal(pl.exclude("row").is_not_null()))  # a blank line is nobody's row
        upload.faults.mark(source.name, frame["row"], frame["more"].is_not_null(), None, "more fields than the header")
        kept = {f"c{at}": name for at, name in enumerate(columns) if name is not None}
        yield frame.select("row", *kept).rename(kept), read + len(piece)
        read = 0


def _lines(piece: bytes, width: int, separator: str) -> pl.DataFrame:
    """A row for each line, also for a blank one; `c0`, `c1`, … as text, and `more` where a line has more fields than that."""
    if not piece.isascii():
        piece = piece.decode("utf-8", errors="replace").encode()  # what is garbled is then found where it stands
    names = [*(f"c{at}" for at in range(width)), "more"]
    return pl.read_csv(
        separator.join(names).encode() + b"\n" + piece,
        separator=separator,
        schema=dict.fromkeys(names, pl.String),
        quote_char=None,
        truncate_ragged_lines=True,
    )


def _separator(header: bytes) -> str:
    return max(",;\t", key=lambda separator: header.count(separator.encode()))


def _header(line: bytes, separator: str) -> list[str]:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Unfit("not UTF-8 but UTF-16")
    try:
        text = line.removeprefix(_BOM).decode()
    except UnicodeDecodeError:
        raise _Unfit("not UTF-8", 1) from None
    if "\0" in text or len(line) == _LONGEST_LINE:
        raise _Unfit("neither CSV nor Parquet")
    if not text.strip():
        raise _Unfit("no header" if line else "nothing in it")
    names = [name.strip(' \t\r\n"') for name in text.split(separator)]
    return names[:-1] if len(names) > 1 and not names[-1] else names


def _columns(file: str, header: Sequence[str], mapping: ColumnMap, upload: Upload) -> list[str | None]:
    """What each column is; None for one that is left out. Those that are missing, unknown or there twice are faults."""
    given = {_plain(name): column for name, column in mapping.items()}
    columns: list[str | None] = []
    for name in header:
        plain = _plain(name)
        column = given[plain] if plain in given else _ALIASES.get(plain, plain)
        fault = None
        if column is not None and column not in COLUMNS:
            fault = UNKNOWN
        elif column is not None and column in columns:
            fault = TWICE
        elif column in ("adj_close", *ACTIONS) and upload.terms.interval != "1day":
            fault = OF_DAYS
        if fault:
            upload.faults.add(Fault(file, None, name[:64], fault))
        columns.append(None if fault else column)
    for name in REQUIRED:
        if name not in columns:
            upload.faults.add(Fault(file, None, name, MISSING))
    return columns


def _plain(name: str) -> str:
    return re.sub(r"[\s._-]+", "_", name.strip().lower())


def _parquet(source: Source, mapping: ColumnMap, upload: Upload) -> _Pieces:
    size = source.file.seek(0, 2)
    unreadable = _Unfit("not readable as Parquet")
    try:
        unpacked = unpacked_bytes(source.file)
    except ValueError as error:
        raise unreadable from error
    try:
        with opened_apart(source.file) as file:
            if file.rows > MOST_ROWS:
                raise _Unfit(f"more than {MOST_ROWS:,} rows")
            if unpacked > _MOST_UNPACKED:
                raise _Unfit(f"more than {_MOST_UNPACKED:,} bytes once it is unpacked")
            columns = _columns(source.name, file.names, mapping, upload)
            kept = {name: column for name, column in zip(file.names, columns, strict=True) if column is not None}
            first = 1
            for piece in file.pieces(list(kept), _PIECE_ROWS):
                number = pl.int_range(first, first + pl.len(), dtype=pl.UInt32)
                yield piece.rename(kept).with_columns(row=number), size * piece.height // file.rows
                first += piece.height
    except ReaderEnded as error:
        raise _Unfit(f"damaged, or not to be read within {error.memory >> 20:,} MiB of memory") from error
    except Unreadable as error:
        raise unreadable from error
