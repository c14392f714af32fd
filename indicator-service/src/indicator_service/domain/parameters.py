"""The parameters of an indicator as somebody gave them, checked against the catalogue: the one place that says what fits."""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.indicator import Indicator, Parameter, Value
from shared.errors import InvalidInput

__all__ = ["STRICT", "check_order", "checked", "fields_of", "parse_values", "unaliased", "values_of"]

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_Model = TypeVar("_Model", bound=BaseModel)


def _is_date(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("not a date (2013-01-02)")
    return text


def _type_of(parameter: Parameter) -> Any:
    if parameter.type == "choice":
        choice: Any = Literal
        return choice[parameter.choices]
    if parameter.type == "date":
        return Annotated[str, AfterValidator(_is_date)]
    return Annotated[int if parameter.type == "int" else float, Field(ge=parameter.minimum, le=parameter.maximum)]


def fields_of(indicator: Indicator) -> dict[str, Any]:
    """For a model of pydantic's, whose input calls each by the parameter's name. The model itself does not: a user may have
    called one as a model's methods are, `copy` or `model_dump`."""
    return {
        _field(parameter.name): (_type_of(parameter), Field(parameter.default, alias=parameter.name))
        for parameter in indicator.parameters
    }


def values_of(indicator: Indicator, model: BaseModel) -> dict[str, Value]:
    """From a model with `fields_of` the indicator."""
    return {parameter.name: getattr(model, _field(parameter.name)) for parameter in indicator.parameters}


def _field(name: str) -> str:
    return f"p_{name}"


@lru_cache(1024)
def _values_model(indicator: Indicator) -> type[BaseModel]:
    return create_model(f"{indicator.name}_values", __config__=ConfigDict(strict=True, **STRICT), **fields_of(indicator))


def parse_values(indicator: Indicator, sent: Mapping[str, Any], *loc: str) -> dict[str, Value]:
    """Its own parameters by name or alias, of the very types, the others at their defaults. Raises InvalidInput naming each that
    is unknown, given twice, mistyped or out of bounds."""
    model = checked(_values_model(indicator), unaliased(indicator, sent.items(), loc), loc)
    values = values_of(indicator, model)
    check_order(indicator, values, loc)
    return values


def checked(model: type[_Model], sent: Any, loc: tuple[str | int, ...]) -> _Model:
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        faults = [{"loc": [*loc, *fault["loc"]], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
        raise InvalidInput(f"unfit: {', '.join('.'.join(map(str, fault['loc'][1:])) for fault in faults)}", faults) from None


def check_order(indicator: Indicator, values: Mapping[str, Any], loc: tuple[str | int, ...]) -> None:
    for order in indicator.ordered:
        first, second = values[order.first], values[order.second]
        if first > second or (order.strictly and first == second):
            raise InvalidInput.field(*loc, order.first, msg=f"{'not below' if order.strictly else 'above'} {order.second}")
    if indicator.type == "custom":
        _check_own(indicator, values, loc)


def _check_own(indicator: Indicator, values: Mapping[str, Any], loc: tuple[str | int, ...]) -> None:
    """Whether the expression behind it can be read with these values: its author bounded them, TA-Lib bounds what is made of
    them."""
    try:
        indicator.lookback(values)
    except InvalidExpression as refused:
        changed = [name for name, value in values.items() if value != indicator.defaults[name]]
        msg = f"not what the expression of {indicator.name} can be computed with: {refused.mistake.msg}"
        raise InvalidInput.field(*loc, changed[0], msg=msg) from refused


def unaliased(
    indicator: Indicator, sent: Iterable[tuple[str, Any]], loc: tuple[str | int, ...], also: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """`also` are aliases of other fields than the indicator's own."""
    meant: dict[str, tuple[str, ...]] = {alias: (name,) for alias, name in (also or {}).items()}
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
