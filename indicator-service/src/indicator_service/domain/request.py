"""From a query string to a request that can be computed: every parameter checked against the catalogue, every fault named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from indicator_service.domain.catalogue import Indicator, Value
from indicator_service.domain.series import SeriesType
from shared.errors import InvalidInput
from shared.paging import Order
from shared.subjects import SYMBOL_PATTERN

__all__ = ["IndicatorRequest", "Query", "parse_request", "query_model"]

Adjustment = Literal["split_dividend", "split", "none"]
Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
_COMMON_ALIASES = {"timeframe": ("interval",)}


class Query(BaseModel):
    """What every indicator takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    symbol: Annotated[
        str,
        AfterValidator(str.upper),
        Field(pattern=f"^(?i:{SYMBOL_PATTERN})$", description="in capitals or not", examples=["AAPL"]),
    ]
    interval: Interval = "1day"
    start_date: Annotated[date | None, Field(description="first day wanted")] = None
    end_date: Annotated[date | None, Field(description="last day wanted")] = None
    series_type: Annotated[SeriesType, Field(description="the column it is computed on")] = "close"
    adjustment: Adjustment = "split_dividend"
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000, description="rows in a page")] = 5_000
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    include_ohlc: Annotated[bool, Field(description="adds each row's open, high, low and close")] = False


@dataclass(frozen=True, slots=True)
class IndicatorRequest:
    indicator: Indicator
    query: Query
    values: Mapping[str, Value]

    @property
    def identity(self) -> str:
        """Everything but range, order and page: two requests of one identity page through the same series."""
        query = self.query
        return f"{query.symbol} {query.interval} {self.indicator.name} {dict(self.values)} {query.series_type} {query.adjustment}"


@cache
def query_model(indicator: Indicator) -> type[Query]:
    """`Query` with the indicator's own parameters, typed and bounded as the catalogue says."""
    fields: dict[str, Any] = {
        p.name: (
            Annotated[int if p.type == "int" else float, Field(ge=p.minimum, le=p.maximum, description=_aliases(p.aliases))],
            p.default,
        )
        for p in indicator.parameters
    }
    return create_model(f"{indicator.name.upper()}Query", __base__=Query, **fields)


def _aliases(names: tuple[str, ...]) -> str | None:
    return f"also: {', '.join(names)}" if names else None


def parse_request(indicator: Indicator, sent: Iterable[tuple[str, str]]) -> IndicatorRequest:
    """Raises InvalidInput naming each parameter that is unknown, given twice (also by an alias), mistyped or out of bounds."""
    try:
        query = query_model(indicator).model_validate(_unaliased(indicator, sent))
    except ValidationError as error:
        faults = [{"loc": ["query", *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
        raise InvalidInput(f"unfit: {', '.join(str(fault['loc'][1]) for fault in faults)}", faults) from None
    values = {parameter.name: getattr(query, parameter.name) for parameter in indicator.parameters}
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    if "fast_period" in values and values["fast_period"] >= values["slow_period"]:
        # TA-Lib would swap the two without a word
        raise InvalidInput.field("query", "fast_period", msg="not below slow_period")
    return IndicatorRequest(indicator, query, values)


def _unaliased(indicator: Indicator, sent: Iterable[tuple[str, str]]) -> dict[str, str]:
    meant: dict[str, tuple[str, ...]] = dict(_COMMON_ALIASES)
    for parameter in indicator.parameters:
        for alias in parameter.aliases:
            meant[alias] = (*meant.get(alias, ()), parameter.name)
    values: dict[str, str] = {}
    for name, value in sent:
        for target in meant.get(name, (name,)):
            if target in values:
                raise InvalidInput.field("query", name, msg=f"{target} is given twice")
            values[target] = value
    return values
