"""From what a client sent to a request that can be computed: every parameter checked against the catalogue, every fault named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from indicator_service.domain.catalogue import Indicator, Parameter
from indicator_service.domain.inputs import SERIES_TYPES
from indicator_service.domain.talib_info import Value
from shared.errors import InvalidInput
from shared.formats import Format, FormatChoice
from shared.paging import Order
from shared.subjects import SYMBOL_PATTERN

__all__ = ["IndicatorRequest", "Parameters", "Query", "Wanted", "checked", "parse_parameters", "parse_request"]

Adjustment = Literal["split_dividend", "split", "none"]
Interval = Literal["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
_COMMON_ALIASES = {"timeframe": ("interval",)}
_Model = TypeVar("_Model", bound=BaseModel)
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class Query(BaseModel):
    """What every indicator takes."""

    model_config = _STRICT
    symbol: Annotated[
        str,
        AfterValidator(str.upper),
        Field(pattern=f"^(?i:{SYMBOL_PATTERN})$", description="in capitals or not", examples=["AAPL"]),
    ]
    interval: Annotated[Interval, Field(description="also: timeframe")] = "1day"
    start_date: Annotated[date | None, Field(description="first day wanted")] = None
    end_date: Annotated[date | None, Field(description="last day wanted")] = None
    adjustment: Adjustment = "split_dividend"
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000, description="rows in a page")] = 5_000
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    include_ohlc: Annotated[bool, Field(description="adds each row's open, high, low and close")] = False
    format: FormatChoice = None
    explain: Annotated[bool, Field(description="`true` says what it would cost and read; computes nothing and costs nothing")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is computed: `values` by the names of the indicator's own parameters, `series` the types of its free inputs."""

    indicator: Indicator
    values: Mapping[str, Value]
    series: tuple[str, ...]

    @property
    def shown(self) -> dict[str, Value]:
        return {**self.values, **dict(zip(self.indicator.series_parameters, self.series, strict=True))}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are wanted, and how; symbol, interval and adjustment are None for bars that the client brought."""

    symbol: str | None = None
    interval: str | None = None
    adjustment: str | None = None
    start: date | None = None
    end: date | None = None
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
        return f"{wanted.symbol} {wanted.interval} {parameters.indicator.name} {parameters.shown} {wanted.adjustment}"


def _type_of(parameter: Parameter) -> Any:
    if parameter.type == "choice":
        choice: Any = Literal
        return choice[parameter.choices]
    return Annotated[int if parameter.type == "int" else float, Field(ge=parameter.minimum, le=parameter.maximum)]


@cache
def _fields(indicator: Indicator) -> dict[str, Any]:
    """The one place that says what a client may send as a series: a type of `inputs`."""
    series: Any = Literal
    return {
        **{parameter.name: (_type_of(parameter), parameter.default) for parameter in indicator.parameters},
        **{
            name: (series[SERIES_TYPES], default)
            for name, default in zip(indicator.series_parameters, indicator.series_defaults, strict=True)
        },
    }


@cache
def _query_model(indicator: Indicator) -> type[Query]:
    return create_model(f"{indicator.name}_query", __base__=Query, **_fields(indicator))


@cache
def _parameters_model(indicator: Indicator) -> type[BaseModel]:
    return create_model(f"{indicator.name}_parameters", __config__=ConfigDict(strict=True, **_STRICT), **_fields(indicator))


def parse_request(indicator: Indicator, sent: Iterable[tuple[str, str]]) -> IndicatorRequest:
    """A query string. Raises InvalidInput naming each parameter that is unknown, given twice (also by an alias), mistyped or out
    of bounds."""
    query = checked(_query_model(indicator), _unaliased(indicator, sent, ("query",)), ("query",))
    if query.start_date and query.end_date and query.start_date > query.end_date:
        raise InvalidInput.field("query", "start_date", msg="after end_date")
    wanted = Wanted(
        symbol=query.symbol,
        interval=query.interval,
        adjustment=query.adjustment,
        start=query.start_date,
        end=query.end_date,
        order=query.order,
        limit=query.limit,
        cursor=query.cursor,
        include_ohlc=query.include_ohlc,
    )
    return IndicatorRequest(_parameters(indicator, query, ("query",)), wanted, query.format, query.explain)


def parse_parameters(indicator: Indicator, sent: Mapping[str, Any], *loc: str) -> Parameters:
    """An object of JSON, its values of the very types. Raises InvalidInput as `parse_request` does; `loc` says where it stood."""
    return _parameters(indicator, checked(_parameters_model(indicator), _unaliased(indicator, sent.items(), loc), loc), loc)


def checked(model: type[_Model], sent: Any, loc: tuple[str, ...]) -> _Model:
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        faults = [{"loc": [*loc, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
        raise InvalidInput(f"unfit: {', '.join('.'.join(map(str, fault['loc'][1:])) for fault in faults)}", faults) from None


def _parameters(indicator: Indicator, model: BaseModel, loc: tuple[str, ...]) -> Parameters:
    values = {parameter.name: getattr(model, parameter.name) for parameter in indicator.parameters}
    for order in indicator.ordered:
        first, second = values[order.first], values[order.second]
        if first > second or (order.strictly and first == second):
            raise InvalidInput.field(*loc, order.first, msg=f"{'not below' if order.strictly else 'above'} {order.second}")
    return Parameters(indicator, values, tuple(getattr(model, name) for name in indicator.series_parameters))


def _unaliased(indicator: Indicator, sent: Iterable[tuple[str, Any]], loc: tuple[str, ...]) -> dict[str, Any]:
    meant: dict[str, tuple[str, ...]] = dict(_COMMON_ALIASES) if loc == ("query",) else {}
    for parameter in indicator.parameters:
        for alias in parameter.aliases:
            meant[alias] = (*meant.get(alias, ()), parameter.name)
    values: dict[str, Any] = {}
    for name, value in sent:
        for target in meant.get(name, (name,)):
            if target in values:
                raise InvalidInput.field(*loc, name, msg=f"{target} is given twice")
            values[target] = value
    return values
