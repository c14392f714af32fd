"""Which symbols of a universe meet a condition at their newest bar, and what is shown of those that do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from indicator_service.domain.catalogue import FUNCTIONS_BY_NAME
from indicator_service.domain.errors import InvalidExpression, Mistake
from indicator_service.domain.evaluation import ValidateBody, read_expression
from indicator_service.domain.expressions import Expression
from indicator_service.domain.indicator import Functions, Indicator
from indicator_service.domain.parameters import checked
from indicator_service.domain.request import Adjustment, Interval, Symbol
from indicator_service.domain.series import Bars, iso_text
from shared.days import Day
from shared.errors import InvalidInput

__all__ = ["MOST_NS", "Matches", "Screen", "ScreenBody", "parse_screen"]

MOST_NS = 60e9
"""Of computing, by estimates of the worst case, mostly ten times what it takes."""

Order = Literal["asc", "desc"]
_Value = float | bool | str | None
_OWN = ("symbol", "date")


class ScreenBody(ValidateBody):
    """The condition `expression` at each symbol's newest bar, or with `as_of` at its newest one then."""

    universe: Annotated[list[Symbol] | None, Field(max_length=10_000, description="symbols; null for all there are")] = None
    interval: Interval = "1day"
    adjustment: Adjustment = "split_dividend"
    as_of: Annotated[Day | None, Field(description="as was known on that day: as if there were no bar after it")] = None
    columns: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z_][a-z0-9_]{0,63}$")], Annotated[str, Field(max_length=4_096)]],
        Field(max_length=32, description="expressions shown of each symbol found", examples=[{"rsi": "rsi(14)"}]),
    ] = Field(default_factory=dict)
    sort: Annotated[str, Field(description="`symbol` or a column; symbols without a value come last")] = "symbol"
    order: Order = "asc"
    limit: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 1_000

    @field_validator("columns")
    @classmethod
    def _free_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        if taken := [name for name in _OWN if name in columns]:
            raise ValueError(f"a column there is already: {taken[0]}")
        return columns


@dataclass(frozen=True)
class Screen:
    """What is asked, compiled once for all symbols."""

    body: ScreenBody
    condition: Expression
    columns: Mapping[str, Expression]

    @property
    def indicators(self) -> Sequence[Indicator]:
        return [used for expression in (self.condition, *self.columns.values()) for used in expression.indicators]

    @property
    def bar_columns(self) -> frozenset[str]:
        """Of the bars, those it is computed on."""
        return self.condition.columns.union(*(expression.columns for expression in self.columns.values()))

    @property
    def cost(self) -> float:
        """About how many nanoseconds a bar it takes, at most."""
        return self.condition.cost + sum(expression.cost for expression in self.columns.values())


@dataclass(slots=True)
class Matches:
    """`unknown`: symbols of which nobody can say whether they match, mostly because they have too few bars."""

    screen: Screen
    rows: list[dict[str, _Value]] = field(default_factory=list)
    evaluated: int = 0
    unknown: int = 0
    spent_ns: float = 0.0

    def add(self, many: Iterable[Bars]) -> None:
        """Those of `many` that match; bars that are none are passed over. InvalidInput once all would take too long."""
        screen, present = self.screen, [bars for bars in many if len(bars)]
        self.evaluated += len(present)
        self.spent_ns += screen.cost * sum(map(len, present))
        if self.spent_ns > MOST_NS:
            raise InvalidInput.field("body", "universe", msg="it would take too long: ask for fewer symbols at once")
        met = screen.condition.newest(present)
        self.unknown += met.count(None)
        found = [bars for bars, value in zip(present, met, strict=True) if value is True]
        shown = {name: expression.newest(found) for name, expression in screen.columns.items()}
        for at, bars in enumerate(found):
            row = {name: values[at] for name, values in shown.items()}
            self.rows.append({"symbol": bars.symbol, "date": iso_text(bars.date[-1:], bars.zone)[0], **row})

    def best(self) -> list[dict[str, _Value]]:
        """Sorted, at most as many as were asked for."""
        body = self.screen.body
        ordered = sorted(self.rows, key=lambda row: str(row["symbol"]))
        known = [row for row in ordered if row[body.sort] is not None]
        known.sort(key=lambda row: row[body.sort], reverse=body.order == "desc")  # type: ignore[arg-type,return-value]  # alike
        return (known + [row for row in ordered if row[body.sort] is None])[: body.limit]


def parse_screen(sent: Any, functions: Functions = FUNCTIONS_BY_NAME) -> Screen:
    """Raises InvalidInput; InvalidExpression says where in which expression the mistake stands."""
    body = checked(ScreenBody, sent, ("body",))
    if body.sort not in ("symbol", *body.columns):
        raise InvalidInput.field("body", "sort", msg=f"no column; there are {', '.join(('symbol', *body.columns))}")
    condition = read_expression(body.expression, body.parameters, ("body", "expression"), functions)
    if condition.kind != "booleans":
        _mistake(body.expression, "no condition: compare it with something", ("body", "expression"))
    columns = {}
    for name, text in body.columns.items():
        columns[name] = read_expression(text, body.parameters, ("body", "columns", name), functions)
        if columns[name].kind == "outputs":
            names = " or ".join(f".{output}" for output in columns[name].outputs)
            _mistake(text, "several series, where a column has one", ("body", "columns", name), names)
    return Screen(body, condition, columns)


def _mistake(text: str, msg: str, loc: tuple[str, ...], suggestion: str | None = None) -> None:
    raise InvalidExpression(Mistake(msg, "expression_type", 0, 1, 1, max(1, len(text)), suggestion), loc)
