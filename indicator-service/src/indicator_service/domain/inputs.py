"""The series an indicator is computed on: a column of the bars, one made of several, or an expression."""

from collections.abc import Sequence
from functools import lru_cache

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME, Indicator
from indicator_service.domain.columns import COLUMNS, column_of
from indicator_service.domain.errors import InvalidExpression, Mistake
from indicator_service.domain.expressions import BUDGET_NS, Expression, expression_of
from indicator_service.domain.indicator import Functions
from indicator_service.domain.series import Bars, Floats

__all__ = ["SERIES_TYPES", "check_affordable", "columns_of", "cost_of", "parse_series", "required_of", "series_of", "used_by"]

SERIES_TYPES: tuple[str, ...] = tuple(COLUMNS)


def parse_series(sent: str, loc: Sequence[str | int], functions: Functions = FUNCTIONS_BY_NAME) -> str:
    """A name of SERIES_TYPES, or the one spelling of an expression of numbers, which calls functions of the catalogue alone: what
    is a user's own is written out in it. Raises InvalidExpression."""
    if sent in COLUMNS:
        return sent
    expression = expression_of(sent, functions, loc=loc)
    if expression.kind != "numbers":
        outputs = " or ".join(f".{name}" for name in expression.outputs) if expression.kind == "outputs" else None
        kind = {"outputs": "several series", "booleans": "a condition", "number": "a constant"}.get(expression.kind, "no series")
        msg = f"this is {kind}, not a series of numbers"
        raise InvalidExpression(Mistake(msg, "expression_type", 0, 1, 1, max(1, len(sent)), outputs), tuple(loc))
    return expression.text


@lru_cache(1024)
def _expression(series_type: str) -> Expression:
    return expression_of(series_type, FUNCTIONS_BY_NAME, loc=("series_type",))


def columns_of(series_type: str) -> Sequence[str]:
    """The columns of the bars it needs."""
    return COLUMNS[series_type] if series_type in COLUMNS else sorted(_expression(series_type).columns)


def series_of(bars: Bars, series_type: str) -> Floats:
    """One value for each bar; NaN where an expression has none. Raises InvalidExpression where that would cost too much."""
    if series_type in COLUMNS:
        return column_of(bars, series_type)
    expression = _expression(series_type).within(len(bars), BUDGET_NS)
    series: Floats = expression.evaluate(bars).columns["value"]  # type: ignore[assignment]  # of numbers, as parsed
    return series


def check_affordable(series_type: str, count: int) -> None:
    """Raises InvalidExpression where `series_of` would, on so many bars."""
    if series_type not in COLUMNS:
        _expression(series_type).within(count, BUDGET_NS)


def used_by(series_type: str) -> Sequence[Indicator]:
    """The indicators an expression calls."""
    return () if series_type in COLUMNS else _expression(series_type).indicators


def required_of(series_type: str) -> int | None:
    """Bars until it no longer depends on where the bars began; None: it always may."""
    return 0 if series_type in COLUMNS else _expression(series_type).required


def cost_of(series_type: str) -> float:
    """About how many nanoseconds a bar it takes, at most."""
    return 0.0 if series_type in COLUMNS else _expression(series_type).cost
