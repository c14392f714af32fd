"""`POST /api/v1/indicators/batch`: many symbols × many indicators."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from indicator_service.api.dependencies import Custom, Plans, Source, turn
from indicator_service.api.entitled import check_parameters, window_of
from indicator_service.api.own import OwnOfBatch
from indicator_service.domain.batch import Construct, check_size, groups_of, open_constructs, parse_batch
from indicator_service.domain.batch_rows import Shape, failures, json_pieces, table
from indicator_service.domain.request import Parameters, parse_parameters
from indicator_service.domain.series import Bars
from shared.errors import KalpiError
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, Format, FormatChoice, render, requested_format, table_of
from shared.guard import Caller
from shared.limits.batches import check_series, constructs_of, series_of
from shared.limits.history import HistoryWindow
from shared.principal import Envelope
from shared.problems import problem_document

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/indicators", tags=["indicators"])
_PATH = f"{router.prefix}/batch"
_BIG = 250_000
"""Values of a batch that waits for its turn: two of ten million at once would take a gigabyte."""


class BatchAnswer(BaseModel):
    """`data` has a slot for each construct, in their order. One that could be answered has `dates`, and in `indicators` a slot
    for each item with its `values`: an array for each output, a value for each date, null where there is none (yet). Where
    something failed, its slot has an `error` instead: the problem that the single route would have answered."""

    provenance: dict[str, str]
    data: list[dict[str, Any]]


@router.post(
    "/batch",
    summary="Many symbols and many indicators at once",
    response_model=BatchAnswer,
    responses={200: {"content": TABLE_CONTENT}},
)
async def batch(
    request: Request,
    caller: Caller,
    plans: Plans,
    source: Source,
    custom: Custom,
    format: FormatChoice = None,  # noqa: A002
    shape: Annotated[Shape, Query(description="of a table: a row for each value, or a column for each output")] = "long",
) -> Response:
    """The values of the single routes to the last bit. A series is one symbol × interval × indicator: a batch of n series costs
    one request of the burst quota and n/10 (rounded up) of the day's, and a tier bounds n.

    As CSV, Arrow (an IPC stream) or Parquet the answer is one table of all that could be answered. `shape=long` has the columns
    id, symbol, date, indicator, output, value; `shape=wide` id, symbol, date and a column for each output of each item, named by
    the item's id or, without one, by what it computes (`sma(20)`, `bbands(20,2.0,2.0,sma).upper`). `X-Kalpi-Failed` says how many
    series have no rows because of an error; JSON says which and why.
    """
    written = requested_format(request, format)
    body = await request.body()
    constructs = await asyncio.to_thread(_parsed, body, caller, plans, OwnOfBatch(custom, caller))
    await _fetch(constructs, caller, plans, source)
    async with turn(request, needed=check_size(constructs) > _BIG):
        return await _answer(constructs, caller, written, shape)


def _parsed(body: bytes, caller: Envelope, plans: Plans, own: OwnOfBatch) -> list[Construct]:
    def read(name: str, sent: Mapping[str, Any], loc: tuple[str | int, ...]) -> Parameters:
        indicator = own.found(name)
        parameters = own.read_with_own(lambda functions: parse_parameters(indicator, sent, *loc, functions=functions))
        check_parameters(caller, plans, parameters)
        return parameters

    sent = constructs_of(body)
    check_series(series_of(sent), caller.entitled, plans)
    return parse_batch(sent, read)


async def _fetch(constructs: Sequence[Construct], caller: Envelope, plans: Plans, source: Source) -> None:
    def window(bars: Bars, start: date | None, end: date | None) -> HistoryWindow:
        return window_of(caller, plans, bars, start, end)

    for group in groups_of(constructs):
        bars: dict[str, Bars] = {}
        missing: dict[str, str] = {}
        async for part in source.many(group.symbols, group.interval, group.adjustment, group.as_of, group.columns):
            bars.update(part.found)
            missing.update(part.missing)
        open_constructs(group, bars, missing, window)


async def _answer(constructs: Sequence[Construct], caller: Envelope, written: Format, shape: Shape) -> Response:
    def described(error: KalpiError) -> dict[str, Any]:
        return problem_document(error, _PATH)

    headers = {"X-Kalpi-Failed": str(failures(constructs))}
    if written == "json":
        pieces = json_pieces(constructs, caller.principal.tier, described)
        answer = await asyncio.to_thread(b"".join, pieces)
    else:
        answer = await asyncio.to_thread(lambda: render(table_of(table(constructs, shape)), written))
    return Response(answer, headers=headers, media_type=MEDIA_TYPES[written])
