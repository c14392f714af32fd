"""What data-service answers, as the public document describes it."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data_service.domain.adjustment import Adjustment
from data_service.domain.intervals import Interval
from shared.subjects import SYMBOL_PATTERN

__all__ = ["BarRow", "BarsAnswer", "BarsQuery", "DataWindow", "SymbolAnswer", "SymbolList", "SymbolName", "SymbolsQuery"]

SymbolName = Annotated[
    str,
    AfterValidator(str.upper),
    Field(pattern=f"^(?i:{SYMBOL_PATTERN})$", description="in capitals or not", examples=["AAPL"]),
]
_Cursor = Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")]


class SymbolsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    search: Annotated[str | None, Field(max_length=32, description="part of a symbol")] = None
    limit: Annotated[int, Field(ge=1, le=5_000)] = 1_000
    cursor: Annotated[str | None, Field(max_length=64, description="`next_cursor` of the page before")] = None


class BarsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    interval: Interval = "1day"
    start_date: Annotated[date | None, Field(description="first day wanted")] = None
    end_date: Annotated[date | None, Field(description="last day wanted")] = None
    adjustment: Adjustment = "split_dividend"
    order: Literal["asc", "desc"] = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    cursor: _Cursor = None


class SymbolAnswer(BaseModel):
    """`exchange` and `currency` are null where the store does not know them."""

    symbol: str
    first_date: date
    last_date: date
    rows: int
    intervals: list[Interval]
    exchange: str | None
    currency: str | None
    data_version: str


class SymbolList(BaseModel):
    data: list[SymbolAnswer]
    next_cursor: str | None


class BarRow(BaseModel):
    date: date
    open: float
    high: float
    low: float
    close: float
    volume: float


class DataWindow(BaseModel):
    """`earliest` is the first day the tier sees; null when it sees all. `clamped`: the request reached further back."""

    tier: str
    earliest: date | None
    clamped: bool


class BarsProvenance(BaseModel):
    data_version: str


class BarsAnswer(BaseModel):
    symbol: str
    interval: Interval
    adjustment: Adjustment
    data_points: int
    window: DataWindow
    provenance: BarsProvenance
    data: list[BarRow]
    next_cursor: str | None
