"""Candle patterns: those of one symbol over a range, and those on the newest bar of many."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import polars as pl
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from indicator_service.api.answering import aside, is_long_to_write
from indicator_service.api.dependencies import Plans, Source, is_large, turn
from indicator_service.api.entitled import check_indicators, window_of
from indicator_service.api.kept import OfMany, kept_or_made
from indicator_service.domain.answer import ENGINE
from indicator_service.domain.indicator import Indicator
from indicator_service.domain.patterns import Completed, Direction, found_in, named, on_newest, row_of
from indicator_service.domain.ports import Versions
from indicator_service.domain.request import Adjustment, Interval, Symbol
from indicator_service.domain.series import Bars, iso_text
from shared.conditional import conditional
from shared.days import Day
from shared.errors import InvalidInput
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, Format, FormatChoice, next_link, render, requested_format, table_of
from shared.guard import Caller
from shared.paging import Order, Page, Range, page_of
from shared.principal import Envelope
from shared.subjects import SENT_SYMBOL_PATTERN

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/patterns", tags=["patterns"])
_MOST_SYMBOLS = 1000
_COLUMNS = ("open", "high", "low", "close")
_OF_DAYS = ("1day", "1week", "1month")
_SYMBOL = re.compile(SENT_SYMBOL_PATTERN)


class _Filters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    interval: Interval = "1day"
    adjustment: Adjustment = "split_dividend"
    patterns: Annotated[
        str | None, Field(max_length=2048, description="names or aliases, separated by commas; all by default", examples=["doji"])
    ] = None
    direction: Direction | None = None
    as_of: Annotated[Day | None, Field(description="as was known on that day")] = None
    limit: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    format: FormatChoice = None


class PatternsQuery(_Filters):
    start_date: Day | None = None
    end_date: Day | None = None
    order: Order = "asc"


def _symbols(sent: str | None) -> str | None:
    names = [] if sent is None else sent.split(",")
    if len(names) > _MOST_SYMBOLS or not all(map(_SYMBOL.fullmatch, names)):
        raise ValueError(f"at most {_MOST_SYMBOLS:,} symbols, separated by commas")
    return None if sent is None else ",".join(dict.fromkeys(name.upper() for name in names))


class ScanQuery(_Filters):
    symbols: Annotated[
        str | None, Field(max_length=33_000, description="separated by commas; all by default"), AfterValidator(_symbols)
    ] = None
    date: Annotated[
        Day | None,
        Field(description="only symbols with a bar on that day, and as was known on it; without it each one's newest"),
    ] = None
    sort: Literal["symbol", "strength"] = "symbol"
    order: Annotated[Order | None, Field(description="ascending by symbol, descending by strength unless said")] = None


class PatternOccurrence(BaseModel):
    """`value` is TA-Lib's; its sign is no direction where the pattern is neutral, as a doji is."""

    date: str
    pattern: str
    title: str
    direction: Direction
    strength: int
    value: int


class ScannedOccurrence(PatternOccurrence):
    symbol: str


class PatternsAnswer(BaseModel):
    symbol: str
    interval: str
    adjustment: str
    data_points: int
    window: dict[str, Any]
    provenance: dict[str, Any]
    data: list[PatternOccurrence]
    next_cursor: str | None


class ScanAnswer(BaseModel):
    """`scanned` symbols had a bar to look at."""

    interval: str
    adjustment: str
    scanned: int
    data_points: int
    provenance: dict[str, Any]
    data: list[ScannedOccurrence]
    next_cursor: str | None


@router.get(
    "/{symbol}",
    summary="Candle patterns of one symbol",
    response_model=PatternsAnswer,
    responses={200: {"content": TABLE_CONTENT}},
)
async def of_symbol(
    request: Request,
    caller: Caller,
    plans: Plans,
    source: Source,
    symbol: Annotated[Symbol, Path()],
    query: Annotated[PatternsQuery, Query()],
) -> Response:
    """Every occurrence of a pattern in the range. A pattern is dated by its last candle."""
    written = requested_format(request, query.format)
    patterns = _allowed(query.patterns, caller, plans)
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    bars = await source.bars(symbol, query.interval, query.adjustment, query.as_of)
    window = window_of(caller, plans, bars, query.start_date, query.end_date or query.as_of)
    whole = Range(window.start, query.end_date, "asc", len(bars) + 1, None, "", bars.data_version)
    span = page_of(bars.date, whole, bars.zone)
    found = await asyncio.to_thread(found_in, bars, patterns, query.direction, first=span.first, end=span.end)
    identity = query.model_dump_json(exclude={"limit", "cursor", "format", "order"})
    asked = Range(None, None, query.order, query.limit, query.cursor, f"{symbol} {identity}", bars.data_version)
    page = page_of(found.keys(bars.date.view(np.int64)), asked)
    is_long = is_long_to_write(page.end - page.first)
    rows = await aside(lambda: found.rows(page.rows, iso_text(bars.date[found.at[page.rows]], bars.zone)), when=is_long)
    document = {
        "symbol": symbol,
        "interval": query.interval,
        "adjustment": query.adjustment,
        "data_points": len(rows),
        "window": {"tier": caller.principal.tier, "earliest": window.earliest, "clamped": window.clamped},
        "provenance": {
            "engine": ENGINE,
            "data_version": bars.data_version,
            "as_of": iso_text(bars.date[-1:], bars.zone)[0] if len(bars) else None,
        },
        "data": rows,
        "next_cursor": page.next_cursor,
    }
    headers = {"X-Kalpi-Window-Clamped": str(window.clamped).lower(), "X-Kalpi-Data-Version": bars.data_version}
    return await _answered(request, written, document, page, headers, f"bars:{symbol}@{bars.data_version}")


@router.get("", summary="Candle patterns of the market", response_model=ScanAnswer, responses={200: {"content": TABLE_CONTENT}})
async def scan(request: Request, caller: Caller, plans: Plans, source: Source, query: Annotated[ScanQuery, Query()]) -> Response:
    """The patterns that each symbol's newest bar completes, or its newest one on a day in the past."""
    written = requested_format(request, query.format)
    patterns = _allowed(query.patterns, caller, plans)
    if query.date and query.as_of and query.date != query.as_of:
        raise InvalidInput.field("query", "as_of", msg="another day than date")
    names = None if query.symbols is None else query.symbols.split(",")
    as_of = query.date or query.as_of

    async def make() -> tuple[bytes, Versions]:
        async with turn(request, needed=is_large(names)):
            completed, scanned, versions = await _scanned(names, patterns, caller, plans, source, query)
        return orjson.dumps({"completed": completed, "scanned": scanned, "version": versions.version}), versions

    if as_of and caller.entitled.history_days is not None:  # needs a look at each symbol's days
        found, _ = await make()
    else:
        found = await kept_or_made(request, source, _kept_as(query, names, patterns), make)
    told = orjson.loads(found)
    rows, version = told["completed"], told["version"]
    order = query.order or ("asc" if query.sort == "symbol" else "desc")
    rows.sort(key=lambda row: (row[0], row[2]), reverse=query.sort == "symbol" and order == "desc")
    if query.sort == "strength":
        rows.sort(key=lambda row: abs(row[3]), reverse=order == "desc")
    identity = query.model_dump_json(exclude={"limit", "cursor", "format"})
    asked = Range(None, None, "asc", query.limit, query.cursor, identity, version)
    page = page_of(np.arange(len(rows)).view("datetime64[s]"), asked)
    shown = [row_of(row) for row in rows[page.rows]]
    document = {
        "interval": query.interval,
        "adjustment": query.adjustment,
        "scanned": told["scanned"],
        "data_points": len(shown),
        "provenance": {"engine": ENGINE, "data_version": version, "as_of": as_of},
        "data": shown,
        "next_cursor": page.next_cursor,
    }
    return await _answered(request, written, document, page, {"X-Kalpi-Data-Version": version}, None)


def _kept_as(query: ScanQuery, names: Sequence[str] | None, patterns: Sequence[Indicator]) -> OfMany:
    """All of it, whatever the page: so the next one is not computed again."""
    chosen = None if query.patterns is None else [pattern.name for pattern in patterns]
    fields = f"{ENGINE} {chosen} {query.direction} {query.interval} {query.adjustment} {query.date} {query.as_of} {query.symbols}"
    closed = (query.date or query.as_of) is not None
    return OfMany("patterns", fields, names, query.interval, closed, is_large(names))


async def _scanned(
    names: Sequence[str] | None, patterns: Sequence[Indicator], caller: Envelope, plans: Plans, source: Source, query: ScanQuery
) -> tuple[list[Completed], int, Versions]:
    """What was found, in how many symbols with a bar, and on which versions."""
    completed: list[Completed] = []
    known, missing, scanned = dict[str, str](), dict[str, str](), 0
    as_of = query.date or query.as_of
    async for part in source.many(names, query.interval, query.adjustment, as_of, _COLUMNS):
        missing |= part.missing
        known |= {symbol: bars.data_version for symbol, bars in part.found.items()}
        seen = [bars for bars in part.found.values() if _is_of(bars, query.date)]
        for bars in seen if as_of and caller.entitled.history_days is not None else ():
            window_of(caller, plans, bars, None, as_of)
        scanned += len(seen)
        completed += await asyncio.to_thread(on_newest, seen, patterns, query.direction)
    return completed, scanned, Versions(known, missing)


def _allowed(sent: str | None, caller: Envelope, plans: Plans) -> Sequence[Indicator]:
    patterns = named(sent)
    check_indicators(caller, plans, patterns)
    return patterns


def _is_of(bars: Bars, day: Day | None) -> bool:
    return len(bars) > 0 and (day is None or bars.last_day == day)


async def _answered(
    request: Request, written: Format, document: dict[str, Any], page: Page, headers: dict[str, str], surrogate_key: str | None
) -> Response:
    body = await aside(lambda: _body(document, written), when=is_long_to_write(len(document["data"])))
    beside = {} if written == "json" else {**headers, **next_link(request, page.next_cursor, written)}
    return conditional(request, body, MEDIA_TYPES[written], surrogate_key, beside)


def _body(document: dict[str, Any], written: Format) -> bytes:
    if written == "json":
        return orjson.dumps(document)
    names = [name for name in ("symbol", *PatternOccurrence.model_fields) if name not in document]
    numbers = {"strength", "value"}
    columns = {
        name: pl.Series([row[name] for row in document["data"]], dtype=pl.Int64 if name in numbers else pl.String)
        for name in names
    }
    if document["interval"] in _OF_DAYS:
        columns["date"] = columns["date"].str.to_date("%Y-%m-%d")
    return render(table_of(columns), written)
