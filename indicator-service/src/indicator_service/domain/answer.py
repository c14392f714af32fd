"""The answer to a request, from computed outputs: the rows of the range, and what they rest on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import orjson
import talib

from indicator_service.domain.engine import Outputs
from indicator_service.domain.request import IndicatorRequest, Wanted
from indicator_service.domain.results import ResultKey
from indicator_service.domain.rows import json_rows, table_columns
from indicator_service.domain.series import Bars
from shared.limits.history import HistoryWindow
from shared.paging import Page, Range, page_of

__all__ = ["ENGINE", "Asked", "Scope", "StoredScope", "Warmup"]

ENGINE = f"TA-Lib {talib.__version__}"


@dataclass(frozen=True, slots=True)
class Warmup:
    """`required` bars before a value until it no longer depends on where the bars began (None: it always does); `used` ones."""

    required: int | None
    used: int
    converged: bool


class Asked(Protocol):
    """What was asked for, an indicator or an expression."""

    @property
    def wanted(self) -> Wanted: ...

    @property
    def identity(self) -> str:
        """Everything but range, order and page: two requests of one identity page through the same series."""
        ...

    @property
    def subject(self) -> Mapping[str, Any]:
        """What is computed, as the answer says it."""
        ...

    @property
    def formula(self) -> str: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def required(self) -> int | None:
        """Bars before a value after which it no longer depends on where the bars began; None when it always does."""
        ...


@dataclass(frozen=True)
class Scope:
    """Everything about an answer that is known before anything is computed."""

    request: Asked
    bars: Bars
    window: HistoryWindow
    tier: str

    @cached_property
    def page(self) -> Page:
        wanted = self.request.wanted
        asked = Range(
            start=self.window.start,
            end=wanted.end,
            order=wanted.order,
            limit=wanted.limit,
            cursor=wanted.cursor,
            request=self.request.identity,
            data_version=self.bars.data_version,
        )
        return page_of(self.bars.date, asked, self.bars.zone)

    @property
    def warmup(self) -> Warmup:
        """Of a stored symbol: of the first row of the page. Its history is all there is, so what counts from the first bar is
        counted from the right one. Of a client's own bars: of the newest one, and nobody knows what came before the first.
        """
        required = self.request.required
        stored = self.request.wanted.symbol is not None
        used = self.page.first if stored else len(self.bars) - 1
        return Warmup(required, used, stored if required is None else used >= required)

    @property
    def _subject(self) -> dict[str, Any]:
        wanted = self.request.wanted
        return {
            "symbol": wanted.symbol,
            "interval": wanted.interval,
            **self.request.subject,
            "adjustment": wanted.adjustment,
        }

    @property
    def _figures(self) -> dict[str, Any]:
        warmup, window = self.warmup, self.window
        return {
            "data_points": self.page.end - self.page.first,
            "window": {"tier": self.tier, "earliest": window.earliest, "clamped": window.clamped},
            "warmup": {"required": warmup.required, "used": warmup.used, "converged": warmup.converged},
        }

    def document(self, outputs: Outputs) -> bytes:
        """`start_date` and `end_date` are those of the earliest and the latest row, null without rows."""
        page, bars = self.page, self.bars
        empty = page.first == page.end
        include_ohlc = self.request.wanted.include_ohlc
        document = {
            **self._subject,
            "start_date": None if empty else bars.iso_date(page.first),
            "end_date": None if empty else bars.iso_date(page.end - 1),
            **self._figures,
            "provenance": {
                "engine": ENGINE,
                "formula": self.request.formula,
                "data_version": bars.data_version or None,
                "as_of": bars.iso_date(len(bars) - 1) if len(bars) else None,
            },
            "data": orjson.Fragment(json_rows(bars, outputs, page.rows, include_ohlc=include_ohlc)),
            "next_cursor": page.next_cursor,
        }
        return orjson.dumps(document)

    def columns(self, outputs: Outputs) -> dict[str, Any]:
        """The rows alone, for `shared.formats.table_of`."""
        return table_columns(self.bars, outputs, self.page.rows, include_ohlc=self.request.wanted.include_ohlc)

    def headers(self) -> dict[str, str]:
        """What the document says beside the rows, for the formats that are rows alone."""
        warmup = self.warmup
        told = {
            "X-Kalpi-Window-Clamped": str(self.window.clamped).lower(),
            "X-Kalpi-Warmup-Required": "never" if warmup.required is None else str(warmup.required),
            "X-Kalpi-Warmup-Used": str(warmup.used),
            "X-Kalpi-Warmup-Converged": str(warmup.converged).lower(),
        }
        return told | ({"X-Kalpi-Data-Version": self.bars.data_version} if self.bars.data_version else {})


@dataclass(frozen=True)
class StoredScope(Scope):
    """Of an indicator of a stored symbol: its answer may be kept, or explained instead."""

    request: IndicatorRequest

    @property
    def may_still_change(self) -> bool:
        """Whether the symbol's newest bar is among the rows."""
        return self.page.end == len(self.bars) > 0 and self.bars.last_day == self.bars.days[1]

    def result_key(self, written: str) -> ResultKey:
        """Of the answer in a format."""
        wanted, page = self.request.wanted, self.page
        rows = (page.first, page.end, page.order, page.next_cursor, wanted.include_ohlc)
        window = (self.tier, self.window.earliest, self.window.clamped)
        fields = f"{self.request.identity} {rows} {window} {written}"
        return ResultKey(self.bars.symbol, self.request.parameters.indicator.name, fields, self.bars.data_version)

    def work(self, written: str) -> object:
        """What the cost of the answer depends on."""
        rows = self.page.end - self.page.first
        parameters = self.request.parameters
        effort = parameters.indicator.name, tuple(parameters.values.values()), parameters.series
        return effort, len(self.bars), rows, self.request.wanted.include_ohlc, written

    def explanation(self, *, cached: bool) -> bytes:
        """What answering would take: one request, so many bars read and values given; `cached` where none would be computed."""
        rows = self.page.end - self.page.first
        document = {
            **self._subject,
            **self._figures,
            "cost": {"burst": 1, "day": 1},
            "bars_read": len(self.bars),
            "values": rows * len(self.request.outputs),
            "cached": cached,
        }
        return orjson.dumps(document)
