"""Bars as tables: the whole of a view once, each page a slice of it."""

from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from data_service.domain.bars import VALUES
from data_service.domain.symbols import View
from shared.formats import table_of
from shared.local_time import zoned
from shared.paging import Page

__all__ = ["dates_of", "page_table"]

_WHOLE_TABLES = 64
_MOST_ROWS = 16_384
"""Of a table that is kept: 60 years of days, at most 1 MB. Of a longer view each page is made by itself."""


def page_table(shown: View, page: Page, columns: tuple[str, ...], *, marked: bool) -> pl.DataFrame:
    """The date and the columns of a page's rows; `marked`, with `partial`, which says so of the newest row."""
    if len(shown.bars) <= _MOST_ROWS:
        rows = _whole(shown, marked).slice(page.first, page.end - page.first)
    else:
        rows = _table(shown, slice(page.first, page.end), marked)
    if columns != VALUES:
        rows = rows[["date", *columns, *rows.columns[len(VALUES) + 1 :]]]
    return rows if page.order == "asc" else rows.reverse()


def dates_of(shown: View, rows: slice) -> Any:
    """As a column of a table: days, or moments with their time zone."""
    dates = shown.bars.date[rows]
    return dates if shown.zone is None else zoned(dates, shown.zone)


@lru_cache(_WHOLE_TABLES)
def _whole(shown: View, marked: bool) -> pl.DataFrame:  # noqa: FBT001 - a cache is asked by position
    # keyed by the view itself, which a BarStore keeps
    return _table(shown, slice(None), marked)


def _table(shown: View, rows: slice, marked: bool) -> pl.DataFrame:  # noqa: FBT001 - as `_whole`
    columns = {"date": dates_of(shown, rows), **{name: getattr(shown.bars, name)[rows] for name in VALUES}}
    if marked:
        newest = len(shown.bars) - 1 if shown.partial else -1
        columns["partial"] = np.arange(len(shown.bars))[rows] == newest
    return table_of(columns)
