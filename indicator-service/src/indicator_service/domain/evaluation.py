"""An expression somebody sent, with what it is to be computed on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator

from indicator_service.domain.candles import PRICES, bars_of, json_of
from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.columns import COLUMNS
from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.expressions import Expression, expression_of
from indicator_service.domain.indicator import Functions, Value
from indicator_service.domain.parameters import checked
from indicator_service.domain.request import Adjustment, Interval, Symbol, Wanted, wanted_of
from indicator_service.domain.series import Bars
from shared.days import Day
from shared.errors import InvalidInput
from shared.paging import Order

__all__ = [
    "EvaluateBody",
    "ExpressionRequest",
    "ValidateBody",
    "mistaken",
    "parse_evaluation",
    "read_expression",
    "validation",
]

_RESERVED = {*COLUMNS, "true", "false", "and", "or", "not"}
_Name = Annotated[str, Field(pattern="^[a-z_][a-z0-9_]{0,63}$")]
_Constant = StrictInt | StrictFloat | Annotated[str, Field(max_length=64, pattern="^[^\"']*$")]


class ValidateBody(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    expression: Annotated[str, Field(description="at most 4,096 characters", examples=["rsi(14) < 30"])]
    parameters: Annotated[
        dict[_Name, _Constant], Field(max_length=32, description="constants that the expression calls by name", examples=[{}])
    ] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _free_names(cls, parameters: dict[str, Value]) -> dict[str, Value]:
        if taken := sorted(_RESERVED & parameters.keys()):
            raise ValueError(f"a name of the language: {taken[0]}")
        return parameters


class EvaluateBody(ValidateBody):
    """On a stored symbol's bars, or on those that are sent."""

    symbol: Symbol | None = None
    bars: Annotated[Any, Field(description="your own instead of a stored symbol's, as for the indicators")] = None
    interval: Interval = "1day"
    start_date: Annotated[Day | None, Field(description="first day wanted")] = None
    end_date: Annotated[Day | None, Field(description="last day wanted")] = None
    adjustment: Adjustment = "split_dividend"
    as_of: Annotated[Day | None, Field(description="answers as was known on that day: as if there were no bar after it")] = None
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=50_000, strict=True, description="rows in a page")] = 5_000
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before")] = None
    include_ohlc: Annotated[bool, Field(strict=True, description="adds each row's open, high, low and close")] = False


@dataclass(frozen=True)
class ExpressionRequest:
    sent: str
    parameters: Mapping[str, Value]
    expression: Expression
    wanted: Wanted

    @cached_property
    def identity(self) -> str:
        wanted = self.wanted
        return f"{wanted.symbol} {wanted.interval} {self.expression.text} {wanted.adjustment} {wanted.as_of}"

    @property
    def subject(self) -> Mapping[str, Any]:
        return {"expression": self.sent, "parameters": self.parameters, "type": _type_of(self.expression)}

    @property
    def formula(self) -> str:
        return self.expression.text

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.expression.outputs

    @property
    def required(self) -> int | None:
        return self.expression.required


def parse_evaluation(sent: bytes, functions: Functions = FUNCTIONS_BY_NAME) -> tuple[ExpressionRequest, Bars | None]:
    """The bars are None where a symbol's are to be fetched. Raises InvalidInput."""
    body = checked(EvaluateBody, json_of(sent), ("body",))
    if (body.symbol is None) == (body.bars is None):
        type_ = "missing" if body.bars is None else "value_error"
        raise InvalidInput.field("body", "symbol", msg="either symbol or bars", type_=type_)
    expression = _expression(body, functions)
    wanted = wanted_of(body, "body")
    bars = None
    if body.bars is not None:
        needed = expression.columns | set(PRICES if wanted.include_ohlc else ())
        bars = bars_of(body.bars, needed, "the expression")
        wanted = replace(wanted, interval=None, adjustment=None)
    return ExpressionRequest(body.expression, body.parameters, expression, wanted), bars


def validation(sent: bytes, functions: Functions = FUNCTIONS_BY_NAME) -> dict[str, Any]:
    """What there is to say of an expression. Raises InvalidExpression, whose answer is `mistaken`, or InvalidInput for what is
    no request."""
    body = checked(ValidateBody, json_of(sent), ("body",))
    expression = _expression(body, functions)
    return {
        "valid": True,
        "type": _type_of(expression),
        "outputs": expression.outputs,
        "canonical": expression.text,
        "lookback": expression.lookback,
        "required": expression.required,
        "cost": expression.cost,
        "columns": sorted(expression.columns),
        "indicators": [indicator.name for indicator in expression.indicators],
        "errors": [],
    }


def mistaken(refused: InvalidExpression) -> dict[str, Any]:
    return {**dict.fromkeys(_SAID), "valid": False, "errors": refused.errors}


_SAID = ("valid", "type", "outputs", "canonical", "lookback", "required", "cost", "columns", "indicators")


def _type_of(expression: Expression) -> str:
    return {"booleans": "boolean", "outputs": "outputs"}.get(expression.kind, "number")


def _expression(body: ValidateBody, functions: Functions) -> Expression:
    return read_expression(body.expression, body.parameters, ("body", "expression"), functions)


def read_expression(
    text: str, constants: Mapping[str, Value], loc: tuple[str, ...], functions: Functions = FUNCTIONS_BY_NAME
) -> Expression:
    """Remembered, where it calls the catalogue's functions alone. Raises InvalidExpression."""
    if functions is FUNCTIONS_BY_NAME:
        return _read(text, tuple(sorted(constants.items())), loc)
    return expression_of(text, functions, constants, loc=loc)


@lru_cache(256)
def _read(text: str, constants: tuple[tuple[str, Value], ...], loc: tuple[str, ...]) -> Expression:
    return expression_of(text, FUNCTIONS_BY_NAME, dict(constants), loc=loc)
