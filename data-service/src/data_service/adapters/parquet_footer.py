"""What a Parquet file says it is once it is unpacked, read from its footer before anything is.

The footer is FileMetaData in Thrift's compact protocol (apache/parquet-format, README and src/main/thrift/parquet.thrift;
apache/thrift, doc/specs/thrift-compact-protocol.md). Of it only FileMetaData.row_groups (field 4) and RowGroup.total_byte_size
(field 2) are of interest; what stands around them is skipped.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["unpacked_bytes"]

_MAGIC = b"PAR1"
_MOST_FOOTER = 16 << 20
_DEEPEST = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_WIDTHS = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


def unpacked_bytes(file: BinaryIO) -> int:
    """The uncompressed size of all row groups; ValueError when there is no such footer."""
    size = file.seek(0, os.SEEK_END)
    if size < 2 * len(_MAGIC) + 4:
        raise ValueError("too short")
    file.seek(size - 8)
    (length,) = struct.unpack("<I", file.read(4))
    if file.read(4) != _MAGIC or length > min(size - 8, _MOST_FOOTER):
        raise ValueError("no footer")
    file.seek(size - 8 - length)
    try:
        return _Compact(file.read(length)).row_groups()
    except IndexError:
        raise ValueError("the footer breaks off") from None


class _Compact:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def row_groups(self) -> int:
        total = 0
        for field, kind in self._fields():
            if field == 4 and kind == _LIST:
                element, length = self._list()
                if length and element != _STRUCT:
                    raise ValueError("row groups that are none")
                total += sum(self._row_group() for _ in range(length))
            else:
                self._skip(kind, 0)
        return total

    def _row_group(self) -> int:
        total = 0
        for field, kind in self._fields():
            if field == 2 and kind in _INTEGERS:
                total = self._integer()
            else:
                self._skip(kind, 1)
        if total < 0:
            raise ValueError("a size below nothing")
        return total

    def _fields(self) -> Iterator[tuple[int, int]]:
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            yield number, byte & 15

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number too long")
        return value | byte << shift

    def _integer(self) -> int:
        zigzag = self._varint()
        return zigzag >> 1 ^ -(zigzag & 1)

    def _list(self) -> tuple[int, int]:
        byte = self._byte()
        return byte & 15, self._varint() if byte >> 4 == 15 else byte >> 4

    def _skip(self, kind: int, depth: int, *, inside: bool = False) -> None:
        """A boolean stands in its field's kind, but in a list it is a byte."""
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if kind in _WIDTHS:
            self._at += max(inside, _WIDTHS[kind])
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self._at += length
        elif kind in {_LIST, _SET}:
            element, length = self._list()
            self._skip_all([element], length, depth)
        elif kind == _MAP:
            length = self._varint()
            kinds = self._byte() if length else 0
            self._skip_all([kinds >> 4, kinds & 15], length, depth)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        else:
            raise ValueError("an unknown kind")

    def _skip_all(self, kinds: list[int], times: int, depth: int) -> None:
        for _ in range(times):
            if self._at >= len(self._data):
                raise IndexError
            for kind in kinds:
                self._skip(kind, depth + 1, inside=True)
