"""The public routes for symbols and bars, and the one for other services."""

import io
from bisect import bisect_right
from typing import Annotated

import numpy as np
import orjson
import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from data_service.api.schemas import BarsAnswer, BarsQuery, SymbolAnswer, SymbolList, SymbolName, SymbolsQuery
from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import Bars
from data_service.domain.intervals import SERVED, Interval
from data_service.domain.store import BarStore
from shared.conditional import conditional_json, etag_matches
from shared.errors import InvalidInput
from shared.guard import Caller
from shared.limits.book import PlanWatcher
from shared.limits.history import history_window
from shared.paging import Range, page_of

__all__ = ["internal", "public"]

COLUMNS = ("date", "open", "high", "low", "close", "volume")
ARROW = "application/vnd.apache.arrow.stream"


def _store(request: Request) -> BarStore:
    store: BarStore = request.app.state.store
    return store


def _plans(request: Request) -> PlanWatcher:
    plans: PlanWatcher = request.app.state.plans
    return plans


Store = Annotated[BarStore, Depends(_store)]
Plans = Annotated[PlanWatcher, Depends(_plans)]
Symbol = Annotated[SymbolName, Path()]

public = APIRouter(prefix="/api/v1", tags=["market data"])
internal = APIRouter(prefix="/internal/v1", tags=["internal"])


@public.get("/symbols", summary="The symbols there are bars for", response_model=SymbolList)
async def symbols(store: Store, query: Annotated[SymbolsQuery, Query()]) -> SymbolList:
    wanted = (query.search or "").upper()
    names = [name for name in store.symbols() if wanted in name]
    first = 0 if query.cursor is None else bisect_right(names, query.cursor)
    page = names[first : first + query.limit]
    more = first + query.limit < len(names)
    return SymbolList(data=[_describe(store.stored(name)) for name in page], next_cursor=page[-1] if more else None)


@public.get("/symbols/{symbol}", summary="One symbol", response_model=SymbolAnswer)
async def symbol(store: Store, symbol: Symbol) -> SymbolAnswer:
    return _describe(store.stored(symbol))


@public.get("/bars/{symbol}", summary="Bars of one symbol", response_model=BarsAnswer)
async def bars(
    request: Request, caller: Caller, store: Store, plans: Plans, symbol: Symbol, query: Annotated[BarsQuery, Query()]
) -> Response:
    """Prices are adjusted so that the newest bar equals the traded price. A range that reaches further back than the tier sees
    is clamped, and says so."""
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    stored = store.stored(symbol)
    window = history_window(
        caller.entitled,
        plans,
        oldest=stored.date[0].item(),
        newest=stored.date[-1].item(),
        start=query.start_date,
        end=query.end_date,
    )
    shown = store.bars(symbol, query.interval, query.adjustment)
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
    columns = [
        np.datetime_as_string(shown.date[page.rows]).tolist(),
        *(getattr(shown, c)[page.rows].tolist() for c in COLUMNS[1:]),
    ]
    answer = {
        "symbol": symbol,
        "interval": query.interval,
        "adjustment": query.adjustment,
        "data_points": len(columns[0]),
        "window": {"tier": caller.principal.tier, "earliest": window.earliest, "clamped": window.clamped},
        "provenance": {"data_version": stored.data_version},
        "data": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)],
        "next_cursor": page.next_cursor,
    }
    return conditional_json(request, orjson.dumps(answer), f"bars:{symbol}@{stored.data_version}")


@internal.get("/bars/{symbol}", summary="Every bar of one symbol, as an Arrow IPC stream", response_class=Response)
async def arrow(
    request: Request, store: Store, symbol: Symbol, interval: Interval = "1day", adjustment: Adjustment = "split_dividend"
) -> Response:
    """Columns `date` (date32) and `open high low close volume` (float64), ascending. The ETag is the data version."""
    headers = {"ETag": f'"{store.stored(symbol).data_version}"'}
    shown = store.bars(symbol, interval, adjustment)
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    buffer = io.BytesIO()
    pl.DataFrame({name: getattr(shown, name) for name in COLUMNS}).write_ipc_stream(buffer)
    return Response(buffer.getvalue(), headers=headers, media_type=ARROW)


def _describe(stored: Bars) -> SymbolAnswer:
    return SymbolAnswer(
        symbol=stored.symbol,
        first_date=stored.date[0].item(),
        last_date=stored.date[-1].item(),
        rows=len(stored),
        intervals=list(SERVED),
        exchange=None,
        currency=None,
        data_version=stored.data_version,
    )
