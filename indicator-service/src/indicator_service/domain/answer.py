"""The answer to a request, from computed series: the rows of the range, and what they rest on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import talib

from indicator_service.domain.request import IndicatorRequest
from indicator_service.domain.series import Bars, Floats
from shared.limits.history import HistoryWindow
from shared.paging import Range, page_of

__all__ = ["ENGINE", "answer_of"]

ENGINE = f"TA-Lib {talib.__version__}"
_OHLC = ("open", "high", "low", "close")


def answer_of(
    request: IndicatorRequest, bars: Bars, computed: Mapping[str, Floats], window: HistoryWindow, tier: str
) -> dict[str, Any]:
    """`start_date` and `end_date` are those of the earliest and the latest row, null without rows; a missing value is null."""
    query = request.query
    asked = Range(
        start=window.start,
        end=query.end_date,
        order=query.order,
        limit=query.limit,
        cursor=query.cursor,
        request=request.identity,
        data_version=bars.data_version,
    )
    page = page_of(bars.date, asked, bars.zone)
    empty = page.first == page.end
    required = request.indicator.warmup(request.values)
    return {
        "symbol": query.symbol,
        "interval": query.interval,
        "indicator": request.indicator.name,
        "parameters": {**request.values, "series_type": query.series_type},
        "adjustment": query.adjustment,
        "start_date": None if empty else bars.iso_dates[page.first],
        "end_date": None if empty else bars.iso_dates[page.end - 1],
        "data_points": page.end - page.first,
        "window": {"tier": tier, "earliest": window.earliest, "clamped": window.clamped},
        "warmup": {"required": required, "used": page.first, "converged": page.first >= required},
        "provenance": {
            "engine": ENGINE,
            "formula": request.indicator.formula,
            "data_version": bars.data_version,
            "as_of": bars.iso_dates[-1] if len(bars) else None,
        },
        "data": _rows(bars, computed, page.rows, include_ohlc=query.include_ohlc),
        "next_cursor": page.next_cursor,
    }


def _rows(bars: Bars, computed: Mapping[str, Floats], rows: slice, *, include_ohlc: bool) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {"date": bars.iso_dates[rows]}
    if include_ohlc:
        columns |= {name: getattr(bars, name)[rows].tolist() for name in _OHLC}
    columns |= {name: _nulled(values[rows]) for name, values in computed.items()}
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _nulled(values: Floats) -> list[float | None]:
    listed: list[float | None] = values.tolist()
    for at in np.flatnonzero(np.isnan(values)):
        listed[at] = None
    return listed
