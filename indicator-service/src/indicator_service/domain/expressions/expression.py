"""An expression that was read: what it is, what it rests on, what it costs, and its values on any bars."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from indicator_service.domain.columns import COLUMNS
from indicator_service.domain.engine import RUN_COST
from indicator_service.domain.errors import InvalidExpression, Mistake
from indicator_service.domain.expressions.builtins import BUILT_INS
from indicator_service.domain.expressions.parse import parse
from indicator_service.domain.expressions.program import Newest, Program, compiled
from indicator_service.domain.expressions.text import text_of
from indicator_service.domain.expressions.tree import BuiltIn, Call, Column, Kind, Lag, Node, Source, parts_of
from indicator_service.domain.indicator import Functions, Indicator, Value
from indicator_service.domain.outputs import Outputs, Truths
from indicator_service.domain.series import Bars, Floats

__all__ = ["BUDGET_NS", "MOST_LOOKBACK", "Expression", "expression_of", "too_costly"]

MOST_LOOKBACK = 200_000
"""Bars, along the deepest nesting."""

BUDGET_NS = 2e9
"""What one request may cost. Estimates are of the worst case, mostly ten times what it takes."""

_STEP = 40.0
"""Nanoseconds a bar of an operation on arrays, at most; the slowest, `since`, makes several passes."""


@dataclass(frozen=True, eq=False)
class Expression:
    """`loc` says where a client wrote it, in so many characters (`length`)."""

    root: Node
    loc: tuple[str | int, ...] = ("expression",)
    length: int = 1

    @cached_property
    def text(self) -> str:
        """Its one spelling: equal expressions have equal texts."""
        return text_of(self.root)

    @cached_property
    def program(self) -> Program:
        return compiled(self.root)

    @property
    def kind(self) -> Kind:
        return self.root.kind

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of its values."""
        return self.root.indicator.outputs if isinstance(self.root, Call) and self.root.output is None else ("value",)

    @property
    def truths(self) -> tuple[str, ...]:
        """Those of the outputs that are true or false."""
        if self.kind == "booleans":
            return ("value",)
        return self.root.indicator.truths if isinstance(self.root, Call) and self.root.output is None else ()

    @cached_property
    def nodes(self) -> frozenset[Node]:
        """Each different sub-tree once, itself among them."""
        return frozenset(_walk(self.root))

    @cached_property
    def indicators(self) -> tuple[Indicator, ...]:
        """Those it calls, by name."""
        return tuple(sorted({node.indicator for node in self.nodes if isinstance(node, Call)}, key=lambda used: used.name))

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns of the bars it needs."""
        needed = {part for node in self.nodes if isinstance(node, Column) for part in COLUMNS[node.name]}
        return frozenset(needed | {name for used in self.indicators for name in used.inputs if name is not None})

    @cached_property
    def lookback(self) -> int:
        """Bars before the first value, if it has one there."""
        return _lookback(self.root)

    @cached_property
    def required(self) -> int | None:
        """Bars before a value after which it no longer depends on where the bars began; None: it always may."""
        return _required(self.root)

    @cached_property
    def cost(self) -> float:
        """Nanoseconds a bar, at most: about, on the machine this was measured on. Of a sub-tree that comes twice, once."""
        calls = {(node.indicator, node.inputs, node.values) for node in self.nodes if isinstance(node, Call)}
        plain = len([node for node in self.nodes if not isinstance(node, Call)])
        return plain * _STEP + sum(self._call_cost(Call(*call, None)) for call in calls)

    @staticmethod
    def _call_cost(call: Call) -> float:
        # on a series with holes each stretch of numbers is a call of its own; the shortest that is worth one has a value
        broken = any(not isinstance(series, Column) for series in call.inputs)
        shortest = call.indicator.lookback(call.named) + 2
        return _STEP + call.indicator.work.cost(call.named) + (RUN_COST / shortest if broken else 0.0)

    def within(self, bars: int, budget_ns: float) -> "Expression":
        """Itself; InvalidExpression where it may take longer than that on so many bars."""
        if self.cost * bars > budget_ns:
            msg = too_costly(self.cost, bars, budget_ns)
            raise InvalidExpression(Mistake(msg, "expression_cost", 0, 1, 1, self.length), self.loc)
        return self

    def evaluate(self, bars: Bars, inputs: Sequence[Floats] = ()) -> Outputs:
        """A column for each output: numbers with NaN, or truths. `inputs`: the series of `source`, where it has one."""
        (series,) = self.program.evaluate(bars, inputs)
        if isinstance(series, Outputs):
            return series
        if isinstance(series, Truths):
            return Outputs({"value": series.true}, 0, {"value": series.unknown})
        if not isinstance(series, np.ndarray):
            series = np.full(len(bars), series)
        return Outputs({"value": series}, 0)

    def newest(self, many: Sequence[Bars]) -> list[Newest]:
        """Its value at the last bar of each, for little more than its indicators cost. Of one output: choose it first."""
        (values,) = self.program.newest(many)
        return values


def expression_of(
    text: str,
    functions: Functions,
    constants: Mapping[str, Value | Node] | None = None,
    *,
    loc: Sequence[str | int] = ("expression",),
    source: bool = False,
) -> Expression:
    """`constants` are names it may use, of constants or of parts; with `source`, that is a series.
    Raises InvalidExpression."""
    length = max(1, len(text))
    expression = Expression(parse(text, functions, constants or {}, loc, source=source), tuple(loc), length)
    if expression.lookback > MOST_LOOKBACK:
        msg = f"it looks {expression.lookback} bars back; at most {MOST_LOOKBACK}"
        raise InvalidExpression(Mistake(msg, "expression_too_complex", 0, 1, 1, length), tuple(loc))
    return expression


def too_costly(cost: float, bars: int, budget_ns: float) -> str:
    """Of what may take so many nanoseconds a bar."""
    return f"too costly: up to {cost * bars / 1e9:.3g} s of computing on {bars} bars, of {budget_ns / 1e9:.3g} s allowed"


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in parts_of(node):
        yield from _walk(part)


def _lookback(node: Node) -> int:
    before = max(map(_lookback, parts_of(node)), default=0)
    match node:
        case Call():
            return before + node.indicator.lookback(node.named)
        case Lag(_, bars):
            return before + bars
        case BuiltIn(name, _, constants):
            return before + (BUILT_INS[name].reach(*constants) or 0)
        case _:
            return before


def _required(node: Node) -> int | None:
    parts = [_required(part) for part in parts_of(node)]
    if isinstance(node, Source | Column) or not parts:
        parts = [0]
    known = [part for part in parts if part is not None]
    match node:
        case Call():
            own = node.indicator.warmup(node.named)
        case Lag(_, bars):
            own = bars
        case BuiltIn(name, _, constants):
            own = BUILT_INS[name].reach(*constants)
        case _:
            own = 0
    return None if own is None or len(known) < len(parts) else max(known) + own
