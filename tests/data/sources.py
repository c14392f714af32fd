"""The bars of a source, all of them at once."""

from pathlib import Path

from data_service.adapters.parquet import read_beside, read_files, source_files
from data_service.domain.bars import Bars

__all__ = ["read_bars"]


def read_bars(source: Path) -> list[Bars]:
    """With what is known beside them."""
    beside = read_beside(source)
    return [bars for interval, paths in source_files(source).items() for bars in read_files(paths, beside, interval)]
