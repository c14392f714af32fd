"""`POST /api/v1/screener`: the symbols that meet a condition."""

import asyncio
from datetime import date
from typing import Any

import orjson
import polars as pl
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from indicator_service.api.dependencies import Custom, Plans, Source, is_large, turn
from indicator_service.api.entitled import check_feature, check_indicators, window_of
from indicator_service.api.expressions import body_of
from indicator_service.api.own import read_with_own
from indicator_service.domain.answer import ENGINE
from indicator_service.domain.candles import json_of
from indicator_service.domain.indicator import Functions
from indicator_service.domain.ports import BarSource
from indicator_service.domain.screening import Matches, Screen, ScreenBody, parse_screen
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, Format, FormatChoice, render, requested_format, table_of
from shared.guard import Caller
from shared.limits.book import PlanWatcher
from shared.principal import Envelope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["screener"])
_EXAMPLE = {
    "expression": "rsi(14) < 30 and close > sma(close, 200)",
    "columns": {"rsi": "rsi(14)", "close": "close"},
    "sort": "rsi",
}


class ScreenAnswer(BaseModel):
    """`evaluated` symbols had a bar, of `unknown` nobody can say whether they match (too few bars); `matched` did, of which
    `data` shows at most `limit`. `missing` says of symbols of the universe why they have no bars."""

    expression: str
    interval: str
    adjustment: str
    as_of: date | None
    evaluated: int
    unknown: int
    matched: int
    missing: dict[str, str]
    provenance: dict[str, Any]
    data: list[dict[str, Any]]


@router.post(
    "/screener",
    summary="The symbols that meet a condition",
    response_model=ScreenAnswer,
    responses={200: {"content": TABLE_CONTENT}},
    openapi_extra=body_of(ScreenBody, _EXAMPLE),
)
async def screen(
    request: Request,
    caller: Caller,
    plans: Plans,
    source: Source,
    custom: Custom,
    format: FormatChoice = None,  # noqa: A002
) -> Response:
    """The condition is looked at on each symbol's newest bar, always computed on its whole history, so that a value is the one of
    every other route. A condition whose value is unknown is not met. It needs the features `screener` and `expressions`, and of
    the plan each indicator that is called. As CSV, Arrow or Parquet the answer is the rows alone.
    """
    written = requested_format(request, format)
    body = await request.body()

    async def read(functions: Functions) -> Screen:
        return await asyncio.to_thread(lambda: parse_screen(json_of(body), functions))

    asked, _ = await read_with_own(custom, caller, read)
    check_feature(caller, plans, "screener")
    check_feature(caller, plans, "expressions")
    check_indicators(caller, plans, asked.indicators)
    async with turn(request, needed=is_large(asked.body.universe)):
        matches, missing = await _screened(asked, caller, plans, source)
    return Response(_written(matches, missing, written), media_type=MEDIA_TYPES[written])


async def _screened(asked: Screen, caller: Envelope, plans: PlanWatcher, source: BarSource) -> tuple[Matches, dict[str, str]]:
    body, matches, missing = asked.body, Matches(asked), dict[str, str]()
    parts = source.many(body.universe, body.interval, body.adjustment, body.as_of, asked.bar_columns)
    async for part in parts:
        missing |= part.missing
        for bars in part.found.values() if body.as_of and caller.entitled.history_days is not None else ():
            window_of(caller, plans, bars, None, body.as_of)
        # on a thread: what is fetched meanwhile is the next part
        await asyncio.to_thread(matches.add, part.found.values())
    return matches, missing if body.universe is not None else {}


def _written(matches: Matches, missing: dict[str, str], written: Format) -> bytes:
    body, rows = matches.screen.body, matches.best()
    if written == "json":
        document = {
            "expression": matches.screen.condition.text,
            "interval": body.interval,
            "adjustment": body.adjustment,
            "as_of": body.as_of,
            "evaluated": matches.evaluated,
            "unknown": matches.unknown,
            "matched": len(matches.rows),
            "missing": missing,
            "provenance": {
                "engine": ENGINE,
                "columns": {name: column.text for name, column in matches.screen.columns.items()},
            },
            "data": rows,
        }
        return orjson.dumps(document)
    kinds: dict[str, Any] = {
        name: pl.Boolean if column.kind == "booleans" else pl.Float64 for name, column in matches.screen.columns.items()
    }
    names = {"symbol": pl.String, "date": pl.String, **kinds}
    return render(table_of({name: pl.Series([row[name] for row in rows], dtype=kind) for name, kind in names.items()}), written)
