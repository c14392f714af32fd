"""The public routes for symbols and bars, and the one for other services."""

import io
from bisect import bisect_right
from itertools import islice
from typing import Annotated, Any

import numpy as np
import orjson
import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from data_service.api.schemas import VALUES, BarsAnswer, BarsQuery, SymbolAnswer, SymbolList, SymbolName, SymbolsQuery
from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import Bars
from data_service.domain.intervals import SERVED, Interval, newest_is_partial
from data_service.domain.store import BarStore
from shared.conditional import conditional, conditional_json, etag_matches
from shared.errors import InvalidInput
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, json_rows, next_link, render, requested_format, table_of
from shared.guard import Caller
from shared.limits.book import PlanWatcher
from shared.limits.history import HistoryWindow, history_window
from shared.paging import Page, Range, page_of

__all__ = ["internal", "public"]

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

public = APIRouter(prefix="/api/v1", tags=["market data"])
internal = APIRouter(prefix="/internal/v1", tags=["internal"])


@public.get("/symbols", summary="The symbols there are bars for", response_model=SymbolList)
async def symbols(request: Request, store: Store, query: Annotated[SymbolsQuery, Query()]) -> Response:
    """In alphabetical order. Filters that are given all apply."""
    names = store.symbols()
    rest = names[0 if query.cursor is None else bisect_right(names, query.cursor) :]
    found = (stored for name in rest if (query.search or "").upper() in name and _fits(stored := store.stored(name), query))
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

    A week or a month bears the date of its last trading day; `partial` is true for the newest one until its last weekday is
    reached (its last day, for a symbol that trades at weekends) or a bar of the next one exists.

    As CSV, Arrow (an IPC stream) or Parquet the answer is the rows alone, with the values of the JSON to the last bit. What JSON
    says beside them is in header fields: `Link` with `rel="next"` for the next page, in the same format;
    `X-Kalpi-Window-Clamped`, `true` or `false`; `X-Kalpi-Data-Version`.
    """
    written = requested_format(request, query.format)
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    stored = store.stored(symbol)
    shown = store.view(stored, query.interval, query.adjustment)
    window = history_window(
        caller.entitled,
        plans,
        oldest=stored.date[0].item(),
        newest=stored.date[-1].item(),
        start=query.start_date,
        end=query.end_date,
    )
    asked = Range(
        start=window.start,
        end=query.end_date,
        order=query.order,
        limit=query.limit,
        cursor=query.cursor,
        request=f"{symbol} {query.interval} {query.adjustment}",
        data_version=stored.data_version,
    )
    page = page_of(shown.date, asked, np.datetime64)
    table = _table(shown, page, query, partial=newest_is_partial(stored.date, query.interval))
    if written == "json":
        body = orjson.dumps(_document(stored, query, window, caller.principal.tier, table, page.next_cursor))
        return conditional_json(request, body, _surrogate_key(stored))
    headers = {
        "X-Kalpi-Data-Version": stored.data_version,
        "X-Kalpi-Window-Clamped": str(window.clamped).lower(),
        **next_link(request, page.next_cursor, written),
    }
    return conditional(request, render(table, written), MEDIA_TYPES[written], _surrogate_key(stored), headers)


def _table(shown: Bars, page: Page, query: BarsQuery, *, partial: bool) -> pl.DataFrame:
    columns = {name: getattr(shown, name)[page.rows] for name in ("date", *query.columns)}
    if query.interval != "1day":
        marks = np.zeros(len(shown), dtype=np.bool_)
        marks[-1:] = partial
        columns["partial"] = marks[page.rows]
    return table_of(columns)


def _document(
    stored: Bars, query: BarsQuery, window: HistoryWindow, tier: str, table: pl.DataFrame, cursor: str | None
) -> dict[str, Any]:
    return {
        "symbol": stored.symbol,
        "interval": query.interval,
        "adjustment": query.adjustment,
        "data_points": len(table),
        "window": {"tier": tier, "earliest": window.earliest, "clamped": window.clamped},
        "provenance": {"data_version": stored.data_version},
        "data": json_rows(table),
        "next_cursor": cursor,
    }


@internal.get("/bars/{symbol}", summary="Every bar of one symbol, as an Arrow IPC stream", response_class=Response)
async def arrow(
    request: Request, store: Store, symbol: Symbol, interval: Interval = "1day", adjustment: Adjustment = "split_dividend"
) -> Response:
    """Columns `date` (date32) and `open high low close volume` (float64), ascending. The ETag is the data version."""
    stored = store.stored(symbol)
    shown = store.view(stored, interval, adjustment)
    headers = {"ETag": f'"{stored.data_version}"'}
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    buffer = io.BytesIO()
    pl.DataFrame({name: getattr(shown, name) for name in ("date", *VALUES)}).write_ipc_stream(buffer)
    return Response(buffer.getvalue(), headers=headers, media_type=MEDIA_TYPES["arrow"])


def _surrogate_key(stored: Bars) -> str:
    return f"bars:{stored.symbol}@{stored.data_version}"


def _fits(stored: Bars, query: SymbolsQuery) -> bool:
    return (
        (query.interval is None or query.interval in SERVED)
        and (query.first_date_before is None or stored.date[0].item() <= query.first_date_before)
        and (query.last_date_after is None or stored.date[-1].item() >= query.last_date_after)
    )


def _described(stored: Bars) -> dict[str, Any]:
    return {
        "symbol": stored.symbol,
        "first_date": stored.date[0].item(),
        "last_date": stored.date[-1].item(),
        "rows": len(stored),
        "intervals": SERVED,
        "exchange": None,
        "currency": None,
        "data_version": stored.data_version,
    }
