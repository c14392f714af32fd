"""`POST /api/v1/indicators/batch`: many symbols × many indicators."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from indicator_service.api.dependencies import Custom, Plans, Source, turn
from indicator_service.api.entitled import check_parameters, window_of
from indicator_service.api.kept import OfMany, kept_or_made
from indicator_service.api.own import OwnOfBatch
from indicator_service.api.unread import PiecesResponse, unread
from indicator_service.domain.answer import ENGINE
from indicator_service.domain.batch import Construct, Group, Opened, Size, Window, groups_of, open_constructs, parse_batch
from indicator_service.domain.batch_rows import JsonRows, Shape, TableRows, failures
from indicator_service.domain.ports import BarSource, ManyBars, Versions
from indicator_service.domain.request import Parameters, parse_parameters
from indicator_service.domain.results import Results
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
_MOST_KEPT_VALUES = 25_000
"""More are too long to be kept, and take about as long to be read from the store as to be computed."""

_NOT_KEPT = Versions({}, {"": "failed"})
"""Those of no answer."""


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
    results: Results = request.app.state.results

    def read() -> _Batch:
        if len(body) > _LONG_BODY:
            check_outline(body, caller.entitled, plans)
        constructs = _parsed(body, caller, plans, own)
        groups = groups_of(constructs)
        kept_as = None
        if not own.were_asked and _may_be_kept(constructs, groups, results.ttl.groups):
            seen_by = f"{caller.principal.tier} {caller.entitled.model_dump_json()}"
            kept_as = _kept_as(constructs, groups, f"{form} {shape} {seen_by} {hashlib.blake2b(body).hexdigest()}")
        return _Batch(constructs, groups, _rows_of(constructs, caller, form, shape), form, kept_as)

    def window(bars: Bars, start: date | None, end: date | None) -> HistoryWindow:
        return window_of(caller, plans, bars, start, end)

    async with AsyncExitStack() as alone:
        if len(body) > _LONG_BODY:  # its objects take many times the room of the bytes
            await alone.enter_async_context(request.app.state.reading)
        asked = await asyncio.to_thread(read)
    with ExitStack() as until_sent:
        answer = until_sent.enter_context(unread(request))

        async def make() -> _Made:
            return await _made(request, asked, source, window, answer)

        if asked.kept_as is None:
            pieces, failed, _ = await make()
        else:
            pieces, failed = await _kept_or_made(request, source, asked.kept_as, make)
            answer.reach(sum(map(len, pieces)))
        return PiecesResponse(pieces, MEDIA_TYPES[form], {"X-Kalpi-Failed": str(failed)}, until_sent.pop_all().close)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One under way. Its methods take long: they are for threads."""

    constructs: list[Construct]
    groups: list[Group]
    rows: JsonRows | TableRows
    form: Format
    kept_as: OfMany | None
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


def _may_be_kept(constructs: Iterable[Construct], groups: Iterable[Group], short_lived: Container[str]) -> bool:
    """What may cost much and says little: no more values than fit, all of one interval, without an error, whose text is the
    request's own, and of no group of the catalogue that has a time to live of its own."""
    values = 0
    for construct in constructs:
        if construct.asked is None or any(item.error is not None for item in construct.items):
            return False
        for _, parameters in construct.good:
            values += construct.asked.limit * len(parameters.indicator.outputs)
            if values > _MOST_KEPT_VALUES or parameters.indicator.group in short_lived:
                return False
    return len({group.interval for group in groups}) == 1


def _kept_as(constructs: Iterable[Construct], groups: Sequence[Group], fields: str) -> OfMany:
    symbols = list(dict.fromkeys(construct.symbol for construct in constructs))
    closed = all(group.as_of is not None for group in groups)
    return OfMany("batch", f"{ENGINE} {fields}", symbols, groups[0].interval, closed, guess=False)


class _Made(NamedTuple):
    """The answer in pieces, how many series failed, and the versions of the bars it rests on."""

    pieces: list[bytes]
    failed: int
    versions: Versions


async def _kept_or_made(
    request: Request, source: BarSource, kept_as: OfMany, make: Callable[[], Awaitable[_Made]]
) -> tuple[list[bytes], int]:
    """The pieces, and how many series failed: kept before the answer, and only where none did. It is looked for where the same
    bytes were sent before, so what nobody asks twice costs nothing more."""

    async def whole() -> tuple[bytes, Versions]:
        made = await make()
        return b"".join((b"%d\n" % made.failed, *made.pieces)), _NOT_KEPT if made.failed else made.versions

    failed, _, answer = (await kept_or_made(request, source, kept_as, whole)).partition(b"\n")
    return [answer], int(failed)


async def _made(request: Request, batch: _Batch, source: BarSource, window: Window, answer: Unread) -> _Made:
    """Part after part is computed as its bars come, and it is checked before that whether all is too much: so neither the bars
    nor the bounds wait for the last symbol. From where it is large on, it has its turn."""
    async with AsyncExitStack() as its_turn, aclosing(_parts(batch.groups, source)) as parts:
        waits, versions = True, dict[str, str]()
        async for constructs, part in parts:
            versions |= {symbol: bars.data_version for symbol, bars in part.found.items()}
            opened = await asyncio.to_thread(batch.opened, constructs, part, window)
            if batch.size.is_large and waits:
                await its_turn.enter_async_context(turn(request))
                waits = False
            answer.reach(batch.size.nbytes)
            await asyncio.to_thread(batch.rows.add, opened)
        pieces, failed = await asyncio.to_thread(batch.whole)
    answer.settle(sum(map(len, pieces)))
    return _Made(pieces, failed, Versions(versions, {}))


async def _parts(groups: Iterable[Group], source: BarSource) -> AsyncGenerator[tuple[list[Construct], ManyBars], None]:
    """The bars of some symbols, and the constructs that ask for them."""
    for group in groups:
        left = dict(group.constructs)
        async for part in source.many(list(left), group.interval, group.adjustment, group.as_of, group.columns):
            symbols = [*part.found, *part.missing]
            yield [construct for symbol in symbols for construct in left.pop(symbol, ())], part
        if left:
            yield [construct for constructs in left.values() for construct in constructs], ManyBars({}, {})
