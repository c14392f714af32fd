"""The public routes for symbols and bars, and the one for other services."""

import asyncio
import io
from bisect import bisect_right
from datetime import date
from itertools import islice
from typing import Annotated, Any

import orjson
import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from data_service.api.schemas import BarsAnswer, BarsQuery, SymbolAnswer, SymbolList, SymbolName, SymbolsQuery
from data_service.api.tables import dates_of, page_table
from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import VALUES
from data_service.domain.intervals import Interval
from data_service.domain.store import BarStore
from data_service.domain.symbols import Days, SymbolBars, View
from shared.conditional import conditional, conditional_json, etag_matches
from shared.direct import DirectRoute
from shared.errors import InvalidInput
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, json_rows, next_link, render, requested_format
from shared.guard import Caller
from shared.limits.book import PlanWatcher
from shared.limits.history import HistoryWindow, history_window
from shared.paging import Range, page_of

__all__ = ["internal", "public"]

_AT_ONCE = 50_000
"""Bars that are adjusted in a millisecond or two; more are, on a thread."""
_BARS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": TABLE_CONTENT},
    304: {"description": "The client has these bytes"},
}


# async, for FastAPI runs a plain function in a thread: 0.1 ms for one attribute
async def _store(request: Request) -> BarStore:
    store: BarStore = request.app.state.store
    return store


async def _plans(request: Request) -> PlanWatcher:
    plans: PlanWatcher = request.app.state.plans
    return plans


Store = Annotated[BarStore, Depends(_store)]
Plans = Annotated[PlanWatcher, Depends(_plans)]
Symbol = Annotated[SymbolName, Path()]

public = APIRouter(prefix="/api/v1", tags=["market data"], route_class=DirectRoute)
internal = APIRouter(prefix="/internal/v1", tags=["internal"])


@public.get("/symbols", summary="The symbols there are bars for", response_model=SymbolList)
async def symbols(request: Request, store: Store, query: Annotated[SymbolsQuery, Query()]) -> Response:
    """In alphabetical order. Filters that are given all apply."""
    now, part = store.snapshot(), (query.search or "").upper()
    rest = now.symbols[0 if query.cursor is None else bisect_right(now.symbols, query.cursor) :]
    found = (stored for name in rest if part in name and _fits(stored := now.of(name), query))
    page = list(islice(found, query.limit + 1))
    shown = page[: query.limit]
    answer = {
        "data": [_described(stored) for stored in shown],
        "next_cursor": shown[-1].symbol if len(page) > len(shown) else None,
    }
    return conditional(request, orjson.dumps(answer), MEDIA_TYPES["json"])


@public.get("/symbols/{symbol}", summary="One symbol", response_model=SymbolAnswer)
async def symbol(request: Request, store: Store, symbol: Symbol) -> Response:
    stored = store.stored(symbol)
    return conditional_json(request, orjson.dumps(_described(stored)), _surrogate_key(stored))


@public.get("/bars/{symbol}", summary="Bars of one symbol", response_model=BarsAnswer, responses=_BARS_RESPONSES)
async def bars(
    request: Request, caller: Caller, store: Store, plans: Plans, symbol: Symbol, query: Annotated[BarsQuery, Query()]
) -> Response:
    """Prices are adjusted so that the newest bar equals the traded price. A range that reaches further back than the tier sees
    is clamped, and says so.

    A bar of less than a day bears its beginning, in the time of its exchange, counted from the opening of its session; a week or
    a month bears the date of its last trading day. Bars made of finer ones have `partial`: true for the newest one until the last
    of what it is made of is there, by the sessions and holidays of its exchange, or a later one exists. Where the exchange is not
    known, a week or month ends with its last weekday (with its last day, for a symbol that trades at weekends).

    `as_of` answers as if there were no bar after that day yet: later ones are absent, and prices are adjusted by what had
    happened.

    As CSV, Arrow (an IPC stream) or Parquet the answer is the rows alone, with the values of the JSON to the last bit. What JSON
    says beside them is in header fields: `Link` with `rel="next"` for the next page, in the same format;
    `X-Kalpi-Window-Clamped`, `true` or `false`; `X-Kalpi-Data-Version`.
    """
    written = requested_format(request, query.format)
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    stored = store.stored(symbol)
    shown = await _viewed(store, stored, query.interval, query.adjustment, query.as_of, (query.start_date, query.end_date))
    oldest, newest = stored.span(query.interval)
    window = history_window(
        caller.entitled,
        plans,
        oldest=oldest,
        newest=newest,
        start=query.start_date,
        end=query.end_date or query.as_of,
    )
    asked = Range(
        start=window.start,
        end=query.end_date,
        order=query.order,
        limit=query.limit,
        cursor=query.cursor,
        request=f"{symbol} {query.interval} {query.adjustment} {query.as_of}",
        data_version=stored.data_version,
    )
    page = page_of(shown.bars.date, asked, shown.zone)
    table = page_table(shown, page, query.columns, marked=query.interval not in stored.stored)
    if written == "json":
        body = orjson.dumps(_document(stored, query, window, caller.principal.tier, table, page.next_cursor))
        return conditional_json(request, body, _surrogate_key(stored))
    headers = {
        "X-Kalpi-Data-Version": stored.data_version,
        "X-Kalpi-Window-Clamped": str(window.clamped).lower(),
        **next_link(request, page.next_cursor, written),
    }
    return conditional(request, render(table, written), MEDIA_TYPES[written], _surrogate_key(stored), headers)


async def _viewed(
    store: BarStore,
    stored: SymbolBars,
    interval: Interval,
    adjustment: Adjustment,
    as_of: date | None,
    between: Days = (None, None),
) -> View:
    if stored.rows_for(interval) <= _AT_ONCE:
        return store.view(stored, interval, adjustment, as_of, between)
    return await asyncio.to_thread(store.view, stored, interval, adjustment, as_of, between)


def _document(
    stored: SymbolBars, query: BarsQuery, window: HistoryWindow, tier: str, table: pl.DataFrame, cursor: str | None
) -> dict[str, Any]:
    return {
        "symbol": stored.symbol,
        "interval": query.interval,
        "adjustment": query.adjustment,
        "data_points": len(table),
        "window": {"tier": tier, "earliest": window.earliest, "clamped": window.clamped},
        "provenance": {"data_version": stored.data_version, "as_of": query.as_of},
        "data": json_rows(table),
        "next_cursor": cursor,
    }


@internal.get("/bars/{symbol}", summary="Every bar of one symbol, as an Arrow IPC stream", response_class=Response)
async def arrow(
    request: Request,
    store: Store,
    symbol: Symbol,
    interval: Interval = "1day",
    adjustment: Adjustment = "split_dividend",
    as_of: date | None = None,
) -> Response:
    """Columns `date` (date32, or of bars of less than a day a timestamp with their exchange's time zone) and `open high low close
    volume` (float64), ascending. The ETag is the data version; `X-Kalpi-Newest` the day of the newest bar whatever `as_of`."""
    stored = store.stored(symbol)
    shown = await _viewed(store, stored, interval, adjustment, as_of)
    headers = {"ETag": f'"{stored.data_version}"', "X-Kalpi-Newest": stored.span(interval)[1].isoformat()}
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    buffer = io.BytesIO()
    values = {name: getattr(shown.bars, name) for name in VALUES}
    pl.DataFrame({"date": dates_of(shown, slice(None)), **values}).write_ipc_stream(buffer)
    return Response(buffer.getvalue(), headers=headers, media_type=MEDIA_TYPES["arrow"])


def _surrogate_key(stored: SymbolBars) -> str:
    return f"bars:{stored.symbol}@{stored.data_version}"


def _fits(stored: SymbolBars, query: SymbolsQuery) -> bool:
    return (
        (query.interval is None or query.interval in stored.served)
        and (query.exchange is None or query.exchange == stored.listing.exchange)
        and (query.first_date_before is None or stored.first_day <= query.first_date_before)
        and (query.last_date_after is None or stored.last_day >= query.last_date_after)
    )


def _described(stored: SymbolBars) -> dict[str, Any]:
    return {
        "symbol": stored.symbol,
        "first_date": stored.first_day,
        "last_date": stored.last_day,
        "rows": stored.rows,
        "intervals": stored.served,
        "exchange": stored.listing.exchange,
        "currency": stored.listing.currency,
        "time_zone": stored.calendar.time_zone if stored.calendar else None,
        "splits": [{"date": split.date.item(), "ratio": split.ratio} for split in stored.head.splits],
        "data_version": stored.data_version,
    }
