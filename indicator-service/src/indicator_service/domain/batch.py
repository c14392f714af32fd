"""Many symbols × many indicators in one pass.

What cannot be answered is an error in its own slot: an item's, or that of its construct when none of its items can be. The
request itself fails only where there are no slots to speak of, or where it asks for more than is ever computed at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from indicator_service.domain.inputs import check_affordable, series_of
from indicator_service.domain.outputs import Outputs
from indicator_service.domain.own import check_own_affordable
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
    "check_size",
    "computed",
    "groups_of",
    "open_constructs",
    "parse_batch",
]

MOST_VALUES = 10_000_000
_MOST_WORK_NS = 30_000_000_000

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
    """At most 16 MiB, its answer at most 10 million values. For the public document: each slot is read by itself."""

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
    """`asked` is None and `error` given where it was not understood; bars, page and window come once they are known."""

    at: int
    id: str | None
    symbol: str
    asked: ConstructBody | None
    items: list[Item]
    error: KalpiError | None = None
    bars: Bars = field(init=False)
    page: Page = field(init=False)
    window: HistoryWindow = field(init=False)

    @property
    def rows(self) -> int:
        return self.page.end - self.page.first

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
    """Constructs whose bars are fetched together."""

    interval: str
    adjustment: str
    as_of: date | None
    constructs: list[Construct]

    @property
    def symbols(self) -> list[str]:
        return list(dict.fromkeys(construct.symbol for construct in self.constructs))

    @property
    def columns(self) -> set[str]:
        distinct = {id(parameters): parameters for construct in self.constructs for _, parameters in construct.good}
        return {column for parameters in distinct.values() for column in parameters.columns}


def groups_of(constructs: Sequence[Construct]) -> list[Group]:
    groups: dict[tuple[str, str, date | None], Group] = {}
    for construct in constructs:
        if (asked := construct.asked) is not None:
            key = asked.interval, asked.adjustment, asked.as_of
            groups.setdefault(key, Group(*key, [])).constructs.append(construct)
    return list(groups.values())


Window = Callable[[Bars, date | None, date | None], HistoryWindow]
"""What of start..end the caller sees; raises KalpiError."""


def open_constructs(group: Group, bars: Mapping[str, Bars], missing: Mapping[str, str], window: Window) -> None:
    """Gives each construct its bars and rows, or its error."""
    for construct in group.constructs:
        asked = construct.asked
        assert asked is not None  # noqa: S101 - only those are in groups
        own = bars.get(construct.symbol)
        if own is None:
            reason = missing.get(construct.symbol, "unknown")
            if reason == "unknown":
                construct.error = NotFound(f"no bars are stored for {construct.symbol}")
            else:
                construct.error = InvalidInput.field("body", "constructs", construct.at, "interval", msg=reason)
            continue
        try:
            seen = window(own, asked.start_date, asked.end_date or asked.as_of)
        except KalpiError as error:
            construct.error = error
            continue
        wanted = Range(seen.start, asked.end_date, asked.order, asked.limit, None, "", own.data_version)
        construct.bars, construct.window, construct.page = own, seen, page_of(own.date, wanted, own.zone)
        for item, parameters in construct.good:
            try:
                for series_type in parameters.series:
                    check_affordable(series_type, len(own))
                check_own_affordable(parameters.indicator, parameters.values, len(own))
            except KalpiError as error:
                item.parameters, item.error = None, error


def check_size(constructs: Sequence[Construct]) -> int:
    """How many values there will be; InvalidInput for more than are computed at once."""
    values, work = 0, 0.0
    for construct in constructs:
        if construct.error is None:
            bars = len(construct.bars)
            for _, parameters in construct.good:
                values += construct.rows * len(parameters.indicator.outputs)
                work += bars * parameters.cost
    if values > MOST_VALUES:
        msg = f"{values:,} values; a batch has at most {MOST_VALUES:,}: ask for fewer series or rows"
        raise InvalidInput.field("body", "constructs", msg=msg)
    if work > _MOST_WORK_NS:
        raise InvalidInput.field("body", "constructs", msg="it would take too long: ask for fewer series at once")
    return values


def computed(construct: Construct) -> Iterator[tuple[Item, Parameters, Outputs]]:
    """Of a construct without error."""
    bars, series = construct.bars, dict[str, Floats]()
    for item, parameters in construct.good:
        inputs = []
        for name in parameters.series:
            if name not in series:
                series[name] = series_of(bars, name)
            inputs.append(series[name])
        yield item, parameters, parameters.computation(bars, inputs)
