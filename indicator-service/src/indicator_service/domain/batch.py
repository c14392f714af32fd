"""Many symbols × many indicators in one pass.

What cannot be answered is an error in its own slot: an item's, or that of its construct when none of its items can be. The
request itself fails only where there are no slots to speak of, or where it asks for more than is ever computed at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from indicator_service.domain.inputs import series_of
from indicator_service.domain.outputs import Outputs
from indicator_service.domain.parameters import checked
from indicator_service.domain.request import Adjustment, Interval, Parameters, Symbol
from indicator_service.domain.series import Bars, Floats
from shared.days import Day
from shared.errors import InvalidInput, KalpiError, NotFound
from shared.limits.history import HistoryWindow
from shared.paging import Order, Page, Range, page_of

__all__ = [
    "MOST_VALUES",
    "BatchBody",
    "Construct",
    "Group",
    "Item",
    "Opened",
    "Size",
    "Window",
    "groups_of",
    "open_constructs",
    "parse_batch",
]

MOST_VALUES = 10_000_000
MOST_BYTES = 192 << 20
MOST_GROUPS = 16
_MOST_WORK_NS = 30e9
_MANY_VALUES = 250_000
_LONG_WORK_NS = 1e9
"""Estimates are of the worst case, mostly several times what it takes."""

_SHARED_SERIES = 16
"""Series that a construct's items may share: each is as long as the symbol's history."""

Id = Annotated[str | None, Field(max_length=128)]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ItemBody(BaseModel):
    """`indicator` is a name of the catalogue or of your own, `parameters` those it takes in its GET, numbers as numbers. `id` is
    told again with the answer."""

    model_config = _STRICT
    id: Id = None
    indicator: Annotated[str, Field(max_length=64, examples=["rsi"])]
    parameters: dict[str, Any] = Field(default_factory=dict)


class ConstructBody(BaseModel):
    """The rows of one symbol, `limit` of them from the first in their `order`."""

    model_config = _STRICT
    id: Id = None
    symbol: Symbol
    interval: Annotated[Interval, Field(validation_alias=AliasChoices("interval", "timeframe"))] = "1day"
    adjustment: Adjustment = "split_dividend"
    start_date: Day | None = None
    end_date: Day | None = None
    as_of: Day | None = None
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000)] = 50_000


class FilledConstruct(ConstructBody):
    indicators: Annotated[list[ItemBody], Field(min_length=1)]


class BatchBody(BaseModel):
    """At most 16 MiB, with at most 16 combinations of interval, adjustment and as_of; its answer at most 10 million values and
    192 MiB. For the public document: each slot is read by itself."""

    model_config = _STRICT
    constructs: Annotated[list[FilledConstruct], Field(min_length=1)]


@dataclass(slots=True, eq=False)
class Item:
    id: str | None
    indicator: str
    parameters: Parameters | None = None
    error: KalpiError | None = None
    label: str = ""
    """What tells its values from those of the other items of its construct."""


@dataclass(slots=True, eq=False)
class Construct:
    """`asked` is None and `error` given where it was not understood."""

    at: int
    id: str | None
    symbol: str
    asked: ConstructBody | None
    items: list[Item]
    error: KalpiError | None = None

    @property
    def good(self) -> Iterator[tuple[Item, Parameters]]:
        return ((item, item.parameters) for item in self.items if item.parameters is not None)


_Loc = tuple[str | int, ...]
Read = Callable[[str, Mapping[str, Any], _Loc], Parameters]
"""The indicator of a name with the parameters that were sent, and where those stood. Raises KalpiError for what there is not, and
for what the caller may not use."""


def parse_batch(constructs: Sequence[Mapping[str, Any]], read: Read) -> list[Construct]:
    """`constructs` are objects, each with `indicators`, a list of objects (see `shared.limits.batches`). Of equal items one is
    read."""
    known: dict[tuple[str, bytes], Parameters] = {}
    return [_construct(at, sent, read, known) for at, sent in enumerate(constructs)]


def _construct(at: int, sent: Mapping[str, Any], read: Read, known: dict[tuple[str, bytes], Parameters]) -> Construct:
    loc: _Loc = ("body", "constructs", at)
    own = {name: value for name, value in sent.items() if name != "indicators"}
    try:
        asked = checked(ConstructBody, own, loc)
        if asked.start_date and asked.end_date and asked.start_date > asked.end_date:
            raise InvalidInput.field(*loc, "start_date", msg="after end_date")
    except InvalidInput as error:
        return Construct(at, _text(sent.get("id"), 128), _text(sent.get("symbol"), 64) or "", None, [], error)
    labels: dict[str, Parameters] = {}
    items = []
    for number, item_sent in enumerate(sent["indicators"]):
        item = _item((*loc, "indicators", number), item_sent, read, known)
        if item.parameters is not None and labels.setdefault(item.label, item.parameters) is not item.parameters:
            fault = InvalidInput.field(*loc, "indicators", number, "id", msg="another one of this construct has it")
            item.parameters, item.error = None, fault
        items.append(item)
    return Construct(at, asked.id, asked.symbol, asked, items)


def _item(loc: _Loc, sent: Mapping[str, Any], read: Read, known: dict[tuple[str, bytes], Parameters]) -> Item:
    try:
        asked = checked(ItemBody, sent, loc)
    except InvalidInput as error:
        return Item(_text(sent.get("id"), 128), _text(sent.get("indicator"), 64) or "", error=error)
    item = Item(asked.id, asked.indicator)
    key = asked.indicator, orjson.dumps(asked.parameters)
    try:
        parameters = known.get(key)
        if parameters is None:
            parameters = known[key] = read(asked.indicator, asked.parameters, (*loc, "parameters"))
    except KalpiError as error:
        item.error = error
        return item
    item.parameters, item.indicator = parameters, parameters.indicator.name
    item.label = asked.id or parameters.label
    return item


def _text(sent: Any, most: int) -> str | None:
    return sent[:most] if isinstance(sent, str) else None


@dataclass(frozen=True, slots=True)
class Group:
    """Constructs whose bars are fetched together, by symbol, and the columns of those that any is computed on."""

    interval: str
    adjustment: str
    as_of: date | None
    constructs: dict[str, list[Construct]]
    columns: set[str]


def groups_of(constructs: Sequence[Construct]) -> list[Group]:
    """InvalidInput for more than are fetched one after the other."""
    groups: dict[tuple[str, str, date | None], list[Construct]] = {}
    for construct in constructs:
        if (asked := construct.asked) is not None:
            groups.setdefault((asked.interval, asked.adjustment, asked.as_of), []).append(construct)
    if len(groups) > MOST_GROUPS:
        msg = f"{len(groups):,} combinations of interval, adjustment and as_of; a batch has at most {MOST_GROUPS}"
        raise InvalidInput.field("body", "constructs", msg=msg, type_="too_long")
    return [_group(key, alike) for key, alike in groups.items()]


def _group(key: tuple[str, str, date | None], constructs: Sequence[Construct]) -> Group:
    by_symbol: dict[str, list[Construct]] = {}
    for construct in constructs:
        by_symbol.setdefault(construct.symbol, []).append(construct)
    distinct = {id(parameters): parameters for construct in constructs for _, parameters in construct.good}
    return Group(*key, by_symbol, {column for parameters in distinct.values() for column in parameters.columns})


Window = Callable[[Bars, date | None, date | None], HistoryWindow]
"""What of start..end the caller sees; raises KalpiError."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A construct with its bars, those rows of them that are wanted, and what of them the caller sees. It is not kept once it is
    written: the bars may be many."""

    construct: Construct
    asked: ConstructBody
    bars: Bars
    page: Page
    window: HistoryWindow

    @property
    def rows(self) -> int:
        return self.page.end - self.page.first

    def computed(self) -> Iterator[tuple[Item, tuple[Parameters, Outputs] | None]]:
        """Each item in its turn; None for one that has an error."""
        series = dict[str, Floats]()
        for item in self.construct.items:
            if (parameters := item.parameters) is None:
                yield item, None
                continue
            inputs = []
            for name in parameters.series:
                if name not in series:
                    if len(series) == _SHARED_SERIES:
                        del series[next(iter(series))]
                    series[name] = series_of(self.bars, name)
                inputs.append(series[name])
            yield item, (parameters, parameters.computation(self.bars, inputs))


def open_constructs(
    constructs: Iterable[Construct], bars: Mapping[str, Bars], missing: Mapping[str, str], window: Window
) -> list[Opened]:
    """Those of which rows can be answered; the others, and the items that would take too long, get their error."""
    opened = []
    for construct in constructs:
        try:
            opened.append(_opened(construct, bars.get(construct.symbol), missing, window))
        except KalpiError as error:
            construct.error = error
    return opened


def _opened(construct: Construct, bars: Bars | None, missing: Mapping[str, str], window: Window) -> Opened:
    asked, loc = construct.asked, ("body", "constructs", construct.at)
    assert asked is not None  # noqa: S101 - only those are in groups
    if bars is None:
        reason = missing.get(construct.symbol, "unknown")
        if reason == "unknown":
            raise NotFound(f"no bars are stored for {construct.symbol}")
        raise InvalidInput.field(*loc, "interval", msg=reason)
    seen = window(bars, asked.start_date, asked.end_date or asked.as_of)
    wanted = Range(seen.start, asked.end_date, asked.order, asked.limit, None, "", bars.data_version)
    for number, item in enumerate(construct.items):
        if item.parameters is not None:
            try:
                item.parameters.check_affordable(len(bars), *loc, "indicators", number, "parameters")
            except KalpiError as error:
                item.parameters, item.error = None, error
    return Opened(construct, asked, bars, page_of(bars.date, wanted, bars.zone), seen)


@dataclass(slots=True)
class Size:
    """Of a batch, as far as it is known."""

    values: int = 0
    nbytes: int = 0
    _work_ns: float = 0.0

    def add(self, one: Opened, nbytes: int) -> None:
        """`nbytes`: about how many it is in the answer. InvalidInput for more than is computed at once."""
        for _, parameters in one.construct.good:
            self.values += one.rows * len(parameters.indicator.outputs)
            self._work_ns += len(one.bars) * parameters.cost
        self.nbytes += nbytes
        if self.values > MOST_VALUES:
            raise self._refusal(f"more than {MOST_VALUES:,} values, of which a batch has no more")
        if self.nbytes > MOST_BYTES:
            raise self._refusal(f"more than {MOST_BYTES >> 20} MiB, of which an answer has no more in this format")
        if self._work_ns > _MOST_WORK_NS:
            raise self._refusal("it would take too long")

    def _refusal(self, why: str) -> InvalidInput:
        return InvalidInput.field("body", "constructs", msg=f"{why}: ask for fewer series or rows at once")

    @property
    def is_large(self) -> bool:
        """Whether it waits for its turn: two of ten million values at once would take a gigabyte."""
        return self.values > _MANY_VALUES or self._work_ns > _LONG_WORK_NS
