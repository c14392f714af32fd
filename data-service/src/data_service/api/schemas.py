"""What data-service answers, as the public document describes it."""

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from data_service.domain.adjustment import Adjustment
from data_service.domain.bars import VALUES
from data_service.domain.intervals import Interval
from shared.days import Day
from shared.formats import FormatChoice
from shared.paging import Order
from shared.subjects import SENT_SYMBOL_PATTERN

__all__ = [
    "BarRow",
    "BarsAnswer",
    "BarsQuery",
    "DataWindow",
    "SymbolAnswer",
    "SymbolList",
    "SymbolName",
    "SymbolsQuery",
]

SymbolName = Annotated[
    str,
    Field(pattern=f"^{SENT_SYMBOL_PATTERN}$", description="in capitals or not", examples=["AAPL"]),
    AfterValidator(str.upper),
]
_Cursor = Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")]


def _known_columns(include: str) -> str:
    columns = include.split(",")
    for at, name in enumerate(columns):
        if name not in VALUES:
            raise ValueError(f"no column {name!r}; there are {', '.join(VALUES)}")
        if name in columns[:at]:
            raise ValueError(f"{name} twice")
    return include


_Columns = Annotated[
    str,
    AfterValidator(_known_columns),
    Field(max_length=64, json_schema_extra={"pattern": f"^({'|'.join(VALUES)})(,({'|'.join(VALUES)}))*$"}),
]


_AsOf = Annotated[Day | None, Field(description="as if there were no bar after this day yet")]


class SymbolsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    search: Annotated[str | None, Field(max_length=32, description="part of a symbol, in capitals or not")] = None
    interval: Annotated[Interval | None, Field(description="there are bars of this interval")] = None
    exchange: Annotated[str | None, Field(max_length=32, description="listed there", examples=["XNAS"])] = None
    first_date_before: Annotated[Day | None, Field(description="the first bar is of this day or earlier")] = None
    last_date_after: Annotated[Day | None, Field(description="the last bar is of this day or later")] = None
    limit: Annotated[int, Field(ge=1, le=5_000)] = 1_000
    cursor: Annotated[str | None, Field(max_length=64, description="`next_cursor` of the page before")] = None


class BarsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    interval: Interval = "1day"
    start_date: Annotated[Day | None, Field(description="first day wanted")] = None
    end_date: Annotated[Day | None, Field(description="last day wanted")] = None
    adjustment: Adjustment = "split_dividend"
    as_of: _AsOf = None
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000, description="rows in a page")] = 5_000
    cursor: _Cursor = None
    include: Annotated[
        _Columns | None,
        Field(
            description="the columns wanted, in their order, separated by commas; all when not given", examples=["close,volume"]
        ),
    ] = None
    format: FormatChoice = None

    @property
    def columns(self) -> tuple[str, ...]:
        return VALUES if self.include is None else tuple(self.include.split(","))


class SplitRow(BaseModel):
    """`ratio` new shares for one old, from the opening of `date` on."""

    date: date
    ratio: float


class SymbolAnswer(BaseModel):
    """`exchange`, `currency` and `time_zone` are null where the store does not know them; `rows` are of the finest interval
    stored."""

    symbol: str
    first_date: date
    last_date: date
    rows: int
    intervals: list[Interval]
    exchange: str | None
    currency: str | None
    time_zone: str | None
    splits: list[SplitRow]
    data_version: str


class SymbolList(BaseModel):
    data: list[SymbolAnswer]
    next_cursor: str | None


class BarRow(BaseModel):
    """The columns of `include`. `partial` is in bars that are made of finer ones alone, always: true for one that is not over."""

    model_config = ConfigDict(json_schema_extra={"required": ["date"]})
    date: date | AwareDatetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    partial: bool


class DataWindow(BaseModel):
    """`earliest` is the first day the tier sees; null when it sees all. `clamped`: the request reached further back."""

    tier: str
    earliest: date | None
    clamped: bool


class BarsProvenance(BaseModel):
    data_version: str
    as_of: date | None


class BarsAnswer(BaseModel):
    symbol: str
    interval: Interval
    adjustment: Adjustment
    data_points: int
    window: DataWindow
    provenance: BarsProvenance
    data: list[BarRow]
    next_cursor: str | None
