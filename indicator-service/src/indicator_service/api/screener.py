"""`POST /api/v1/screener`: the symbols that meet a condition."""

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson
import polars as pl
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from indicator_service.api.dependencies import Custom, Plans, Source, is_large, turn
from indicator_service.api.entitled import check_feature, check_indicators, window_of
from indicator_service.api.expressions import body_of
from indicator_service.api.kept import OfMany, kept_or_made
from indicator_service.api.own import read_with_own
from indicator_service.domain.answer import ENGINE
from indicator_service.domain.candles import json_of
from indicator_service.domain.indicator import Functions
from indicator_service.domain.ports import BarSource, Versions
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

    asked, used_own = await read_with_own(custom, caller, read)
    check_feature(caller, plans, "screener")
    check_feature(caller, plans, "expressions")
    check_indicators(caller, plans, asked.indicators)

    async def make() -> tuple[bytes, Versions]:
        async with turn(request, needed=is_large(asked.body.universe)):
            matches, versions = await _screened(asked, caller, plans, source)
        missing = versions.missing if asked.body.universe is not None else {}
        return _written(matches, missing, written), versions

    if used_own or (asked.body.as_of and caller.entitled.history_days is not None):
        # what means another thing to others, or needs a look at each symbol's days, is made each time
        answer, _ = await make()
    else:
        answer = await kept_or_made(request, source, _kept_as(asked, written), make)
    return Response(answer, media_type=MEDIA_TYPES[written])


def _kept_as(asked: Screen, written: Format) -> OfMany:
    body = asked.body
    columns = {name: column.text for name, column in asked.columns.items()}
    universe = None if body.universe is None else ",".join(body.universe)
    shown = (body.sort, body.order, body.limit, written)
    fields = f"{ENGINE} {asked.condition.text} {columns} {body.interval} {body.adjustment} {body.as_of} {shown} {universe}"
    return OfMany("screen", fields, body.universe, body.interval, body.as_of is not None, is_large(body.universe))


async def _screened(asked: Screen, caller: Envelope, plans: PlanWatcher, source: BarSource) -> tuple[Matches, Versions]:
    """And the versions of the bars it was computed on."""
    body, matches = asked.body, Matches(asked)
    versions, missing = dict[str, str](), dict[str, str]()
    parts = source.many(body.universe, body.interval, body.adjustment, body.as_of, asked.bar_columns)
    async for part in parts:
        missing |= part.missing
        versions |= {symbol: bars.data_version for symbol, bars in part.found.items()}
        for bars in part.found.values() if body.as_of and caller.entitled.history_days is not None else ():
            window_of(caller, plans, bars, None, body.as_of)
        # on a thread: what is fetched meanwhile is the next part
        await asyncio.to_thread(matches.add, part.found.values())
    return matches, Versions(versions, missing)


def _written(matches: Matches, missing: Mapping[str, str], written: Format) -> bytes:
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
