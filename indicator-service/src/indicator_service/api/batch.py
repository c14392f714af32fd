"""`POST /api/v1/indicators/batch`: many symbols × many indicators."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from indicator_service.api.dependencies import Custom, Plans, Source, turn
from indicator_service.api.entitled import check_parameters, window_of
from indicator_service.api.own import OwnOfBatch
from indicator_service.api.unread import PiecesResponse, unread
from indicator_service.domain.batch import Construct, Group, Opened, Size, Window, groups_of, open_constructs, parse_batch
from indicator_service.domain.batch_rows import JsonRows, Shape, TableRows, failures
from indicator_service.domain.ports import BarSource, ManyBars
from indicator_service.domain.request import Parameters, parse_parameters
from indicator_service.domain.series import Bars
from indicator_service.domain.unread import Unread
from shared.errors import KalpiError
from shared.formats import MEDIA_TYPES, TABLE_CONTENT, Format, FormatChoice, render, requested_format, table_of
from shared.guard import Caller
from shared.limits.batches import check_outline, check_series, constructs_of, series_of
from shared.limits.book import PlanWatcher
from shared.limits.history import HistoryWindow
from shared.principal import Envelope
from shared.problems import problem_document

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/indicators", tags=["indicators"])
_PATH = f"{router.prefix}/batch"
_LONG_BODY = 64 << 10


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
    form = requested_format(request, format)
    body = await request.body()
    own = OwnOfBatch(custom, caller)

    def read() -> _Batch:
        if len(body) > _LONG_BODY:
            check_outline(body, caller.entitled, plans)
        constructs = _parsed(body, caller, plans, own)
        return _Batch(constructs, groups_of(constructs), _rows_of(constructs, caller, form, shape), form)

    def window(bars: Bars, start: date | None, end: date | None) -> HistoryWindow:
        return window_of(caller, plans, bars, start, end)

    async with AsyncExitStack() as alone:
        if len(body) > _LONG_BODY:  # its objects take many times the room of the bytes
            await alone.enter_async_context(request.app.state.reading)
        asked = await asyncio.to_thread(read)
    with ExitStack() as until_sent:
        answer = until_sent.enter_context(unread(request))
        pieces, failed = await _made(request, asked, source, window, answer)
        return PiecesResponse(pieces, MEDIA_TYPES[form], {"X-Kalpi-Failed": str(failed)}, until_sent.pop_all().close)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One under way. Its methods take long: they are for threads."""

    constructs: list[Construct]
    groups: list[Group]
    rows: JsonRows | TableRows
    form: Format
    size: Size = field(default_factory=Size)

    def opened(self, constructs: Iterable[Construct], part: ManyBars, window: Window) -> list[Opened]:
        """Raises InvalidInput once what was opened so far is too much."""
        opened = open_constructs(constructs, part.found, part.missing, window)
        for one in opened:
            self.size.add(one, self.rows.weigh(one))
        return opened

    def whole(self) -> tuple[list[bytes], int]:
        """And how many series failed."""
        if isinstance(self.rows, JsonRows):
            pieces = self.rows.whole()
        else:
            assert self.form != "json"  # noqa: S101 - which has rows of its own
            pieces = [render(table_of(self.rows.whole()), self.form)]
        return pieces, failures(self.constructs)


def _parsed(body: bytes, caller: Envelope, plans: PlanWatcher, own: OwnOfBatch) -> list[Construct]:
    def read(name: str, sent: Mapping[str, Any], loc: tuple[str | int, ...]) -> Parameters:
        indicator = own.found(name)
        parameters = own.read_with_own(lambda functions: parse_parameters(indicator, sent, *loc, functions=functions))
        check_parameters(caller, plans, parameters)
        return parameters

    sent = constructs_of(body)
    check_series(series_of(sent), caller.entitled, plans)
    return parse_batch(sent, read)


def _rows_of(constructs: list[Construct], caller: Envelope, form: Format, shape: Shape) -> JsonRows | TableRows:
    if form != "json":
        return TableRows(constructs, shape, text=form == "csv")

    def described(error: KalpiError) -> dict[str, Any]:
        return problem_document(error, _PATH)

    return JsonRows(constructs, caller.principal.tier, described)


async def _made(request: Request, batch: _Batch, source: BarSource, window: Window, answer: Unread) -> tuple[list[bytes], int]:
    """Part after part is computed as its bars come, and it is checked before that whether all is too much: so neither the bars
    nor the bounds wait for the last symbol. From where it is large on, it has its turn."""
    async with AsyncExitStack() as its_turn, aclosing(_parts(batch.groups, source)) as parts:
        waits = True
        async for constructs, part in parts:
            opened = await asyncio.to_thread(batch.opened, constructs, part, window)
            if batch.size.is_large and waits:
                await its_turn.enter_async_context(turn(request))
                waits = False
            answer.reach(batch.size.nbytes)
            await asyncio.to_thread(batch.rows.add, opened)
        pieces, failed = await asyncio.to_thread(batch.whole)
    answer.settle(sum(map(len, pieces)))
    return pieces, failed


async def _parts(groups: Iterable[Group], source: BarSource) -> AsyncGenerator[tuple[list[Construct], ManyBars], None]:
    """The bars of some symbols, and the constructs that ask for them."""
    for group in groups:
        left = dict(group.constructs)
        async for part in source.many(list(left), group.interval, group.adjustment, group.as_of, group.columns):
            symbols = [*part.found, *part.missing]
            yield [construct for symbol in symbols for construct in left.pop(symbol, ())], part
        if left:
            yield [construct for constructs in left.values() for construct in constructs], ManyBars({}, {})
