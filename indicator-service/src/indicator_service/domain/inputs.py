"""The series an indicator is computed on: a column of the bars, one made of several, or an expression."""

from collections.abc import Sequence
from typing import Self

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.columns import COLUMNS, column_of
from indicator_service.domain.errors import InvalidExpression, Mistake
from indicator_service.domain.expressions import BUDGET_NS, Expression, expression_of
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.series import Bars, Floats

__all__ = ["SERIES_TYPES", "check_affordable", "columns_of", "cost_of", "parse_series", "required_of", "series_of", "used_by"]

SERIES_TYPES: tuple[str, ...] = tuple(COLUMNS)


class _Spelling(str):
    """The one spelling of an expression, with the expression. It is shown and compared, and not read again: with everything
    written out it may be longer, and its parts more, than a client may write."""

    __slots__ = ("expression",)
    expression: Expression

    @classmethod
    def of(cls, expression: Expression) -> Self:
        spelling = cls(expression.text)
        spelling.expression = expression
        return spelling


def parse_series(sent: str, loc: Sequence[str | int], functions: Functions = FUNCTIONS_BY_NAME) -> str:
    """For the other functions here: a name of SERIES_TYPES, or the one spelling of an expression of numbers. That calls functions
    of the catalogue alone: a user's own are written out. Raises InvalidExpression."""
    if sent in COLUMNS:
        return sent
    expression = expression_of(sent, functions, loc=loc)
    if expression.kind != "numbers":
        outputs = " or ".join(f".{name}" for name in expression.outputs) if expression.kind == "outputs" else None
        kind = {"outputs": "several series", "booleans": "a condition", "number": "a constant"}.get(expression.kind, "no series")
        msg = f"this is {kind}, not a series of numbers"
        raise InvalidExpression(Mistake(msg, "expression_type", 0, 1, 1, expression.length, outputs), expression.loc)
    return _Spelling.of(expression)


def columns_of(series_type: str) -> Sequence[str]:
    """The columns of the bars it needs."""
    return sorted(series_type.expression.columns) if isinstance(series_type, _Spelling) else COLUMNS[series_type]


def series_of(bars: Bars, series_type: str) -> Floats:
    """One value for each bar; NaN where an expression has none."""
    if not isinstance(series_type, _Spelling):
        return column_of(bars, series_type)
    series: Floats = series_type.expression.evaluate(bars).columns["value"]  # type: ignore[assignment]  # of numbers, as parsed
    return series


def check_affordable(series_type: str, count: int) -> None:
    """Raises InvalidExpression, at the place where it was written, for one that would cost too much on so many bars."""
    if isinstance(series_type, _Spelling):
        series_type.expression.within(count, BUDGET_NS)


def used_by(series_type: str) -> Sequence[Indicator]:
    """The indicators an expression calls."""
    return series_type.expression.indicators if isinstance(series_type, _Spelling) else ()


def required_of(series_type: str) -> int | None:
    """Bars until it no longer depends on where the bars began; None: it always may."""
    return series_type.expression.required if isinstance(series_type, _Spelling) else 0


def cost_of(series_type: str) -> float:
    """About how many nanoseconds a bar it takes, at most."""
    return series_type.expression.cost if isinstance(series_type, _Spelling) else 0.0
