"""From what a client sent to a request that can be computed: every parameter checked against the catalogue, every fault named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.engine import LONG_NS
from indicator_service.domain.expressions import BUDGET_NS, too_costly
from indicator_service.domain.expressions.syntax import MOST_CHARACTERS
from indicator_service.domain.indicator import Computation, Functions, Indicator, Value
from indicator_service.domain.inputs import (
    SERIES_TYPES,
    check_affordable,
    columns_of,
    cost_of,
    parse_series,
    required_of,
    series_of,
    used_by,
)
from indicator_service.domain.outputs import Outputs
from indicator_service.domain.parameters import STRICT, check_order, checked, fields_of, unaliased, values_of
from indicator_service.domain.series import Bars
from shared.days import Day
from shared.errors import InvalidInput
from shared.formats import Format, FormatChoice
from shared.paging import Order
from shared.subjects import SENT_SYMBOL_PATTERN

__all__ = [
    "Adjustment",
    "IndicatorRequest",
    "Interval",
    "Parameters",
    "Query",
    "Symbol",
    "Wanted",
    "parse_parameters",
    "parse_request",
    "wanted_of",
]

Adjustment = Literal["split_dividend", "split", "none"]
Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
Symbol = Annotated[
    str,
    Field(pattern=f"^{SENT_SYMBOL_PATTERN}$", description="in capitals or not", examples=["AAPL"]),
    AfterValidator(str.upper),
]
_COMMON_ALIASES = {"timeframe": "interval"}


class Query(BaseModel):
    """What every indicator takes."""

    model_config = STRICT
    symbol: Symbol
    interval: Annotated[Interval, Field(description="also: timeframe")] = "1day"
    start_date: Annotated[Day | None, Field(description="first day wanted")] = None
    end_date: Annotated[Day | None, Field(description="last day wanted")] = None
    adjustment: Adjustment = "split_dividend"
    as_of: Annotated[Day | None, Field(description="answers as was known on that day: as if there were no bar after it")] = None
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000, description="rows in a page")] = 5_000
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    include_ohlc: Annotated[bool, Field(description="adds each row's open, high, low and close")] = False
    format: FormatChoice = None
    explain: Annotated[bool, Field(description="`true` says what it would cost and read; computes nothing and costs nothing")] = (
        False
    )


@dataclass(frozen=True)
class Parameters:
    """What is computed: `values` by the names of the indicator's own parameters, `series` what `inputs.series_of` makes its free
    inputs of."""

    indicator: Indicator
    values: Mapping[str, Value]
    series: tuple[str, ...]

    @cached_property
    def shown(self) -> dict[str, Value]:
        return {**self.values, **dict(zip(self.indicator.series_parameters, self.series, strict=True))}

    @cached_property
    def columns(self) -> set[str]:
        """Of the bars, those it is computed on."""
        fixed = {name for name in self.indicator.inputs if name is not None}
        return fixed.union(*(columns_of(series_type) for series_type in self.series))

    @cached_property
    def computation(self) -> Computation:
        """Takes the bars, and what `inputs.series_of` makes of `series`."""
        return self.indicator.work.bound(self.values)

    def computed(self, bars: Bars) -> Outputs:
        """Always over the whole history: a value does not depend on the range that was asked for."""
        return self.computation(bars, [series_of(bars, series_type) for series_type in self.series])

    @property
    def label(self) -> str:
        """`bbands(20,2.0,2.0,sma)`, with the series where it is another than by default."""
        series = [] if self.series == self.indicator.series_defaults else self.series
        return f"{self.indicator.name}({','.join(map(str, (*self.values.values(), *series)))})"

    @cached_property
    def warmup(self) -> int | None:
        """Bars before a value after which it no longer depends on where the bars began; None when it always does."""
        own = self.indicator.warmup(self.values)
        inputs = [required_of(series_type) for series_type in self.series]
        known = [bars for bars in inputs if bars is not None]
        return None if own is None or len(known) < len(inputs) else own + max(known, default=0)

    @property
    def has_expressions(self) -> bool:
        return any(series_type not in SERIES_TYPES for series_type in self.series)

    @property
    def uses(self) -> tuple[Indicator, ...]:
        """The indicators that it and its inputs are made with."""
        return (*self.indicator.uses, *(used for series_type in self.series for used in used_by(series_type)))

    @cached_property
    def cost(self) -> float:
        """About how many nanoseconds a bar it takes, at most."""
        return self.indicator.work.cost(self.values) + sum(map(cost_of, self.series))

    def check_affordable(self, count: int, *loc: str | int) -> None:
        """Raises InvalidInput where it may take longer on so many bars than one request may: at the place of an input, or at
        `loc`, where the parameters stood."""
        for series_type in self.series:
            check_affordable(series_type, count)
        if self.cost * count > BUDGET_NS:
            raise InvalidInput.field(*loc, msg=too_costly(self.cost, count, BUDGET_NS), type_="cost")

    def takes_long(self, bars: Bars) -> bool:
        """Whether to compute on a thread: TA-Lib lets go of the interpreter, so that others are answered meanwhile."""
        return len(bars) * self.cost > LONG_NS


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are wanted, and how; symbol, interval and adjustment are None for bars that the client brought."""

    symbol: str | None = None
    interval: str | None = None
    adjustment: str | None = None
    start: date | None = None
    end: date | None = None
    as_of: date | None = None
    order: Order = "asc"
    limit: int = 50_000
    cursor: str | None = None
    include_ohlc: bool = False


@dataclass(frozen=True)
class IndicatorRequest:
    parameters: Parameters
    wanted: Wanted
    format: Format | None = None
    explain: bool = False

    @cached_property
    def identity(self) -> str:
        """Everything but range, order and page: two requests of one identity page through the same series."""
        wanted, parameters = self.wanted, self.parameters
        computed = f"{parameters.indicator.name}{parameters.indicator.edition} {parameters.shown}"
        return f"{wanted.symbol} {wanted.interval} {computed} {wanted.adjustment} {wanted.as_of}"

    @cached_property
    def subject(self) -> Mapping[str, Any]:
        return {"indicator": self.parameters.indicator.name, "parameters": self.parameters.shown}

    @property
    def formula(self) -> str:
        return self.parameters.indicator.formula

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.parameters.indicator.outputs

    @property
    def required(self) -> int | None:
        return self.parameters.warmup


@lru_cache(1024)
def _fields(indicator: Indicator) -> dict[str, Any]:
    series = Annotated[str, Field(max_length=MOST_CHARACTERS)]
    chosen = zip(indicator.series_parameters, indicator.series_defaults, strict=True)
    return {**fields_of(indicator), **{name: (series, default) for name, default in chosen}}


@lru_cache(1024)
def _query_model(indicator: Indicator) -> type[Query]:
    return create_model(f"{indicator.name}_query", __base__=Query, **_fields(indicator))


@lru_cache(1024)
def _parameters_model(indicator: Indicator) -> type[BaseModel]:
    return create_model(f"{indicator.name}_parameters", __config__=ConfigDict(strict=True, **STRICT), **_fields(indicator))


def parse_request(
    indicator: Indicator, sent: Iterable[tuple[str, str]], functions: Functions = FUNCTIONS_BY_NAME
) -> IndicatorRequest:
    """A query string. Raises InvalidInput naming each parameter that is unknown, given twice (also by an alias), mistyped or out
    of bounds."""
    query = checked(_query_model(indicator), unaliased(indicator, sent, ("query",), _COMMON_ALIASES), ("query",))
    wanted = wanted_of(query, "query")
    return IndicatorRequest(_parameters(indicator, query, ("query",), functions), wanted, query.format, query.explain)


def wanted_of(model: Any, loc: str) -> Wanted:
    """From a model with the fields of `Query`; InvalidInput where it ends before it starts."""
    if model.start_date and model.end_date and model.start_date > model.end_date:
        raise InvalidInput.field(loc, "start_date", msg="after end_date")
    return Wanted(
        symbol=model.symbol,
        interval=model.interval,
        adjustment=model.adjustment,
        start=model.start_date,
        end=model.end_date,
        as_of=model.as_of,
        order=model.order,
        limit=model.limit,
        cursor=model.cursor,
        include_ohlc=model.include_ohlc,
    )


def parse_parameters(
    indicator: Indicator, sent: Mapping[str, Any], *loc: str | int, functions: Functions = FUNCTIONS_BY_NAME
) -> Parameters:
    """An object of JSON, its values of the very types. Raises InvalidInput as `parse_request` does; `loc` says where it stood."""
    model = checked(_parameters_model(indicator), unaliased(indicator, sent.items(), loc), loc)
    return _parameters(indicator, model, loc, functions)


def _parameters(indicator: Indicator, model: BaseModel, loc: tuple[str | int, ...], functions: Functions) -> Parameters:
    values = values_of(indicator, model)
    check_order(indicator, values, loc)
    series = tuple(parse_series(getattr(model, name), (*loc, name), functions) for name in indicator.series_parameters)
    return Parameters(indicator, values, series)
