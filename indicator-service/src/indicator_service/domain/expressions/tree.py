"""The typed tree of an expression. Two equal trees are the same computation, so equal sub-trees are computed once.

number    a constant        numbers   a number or nothing at each bar
booleans  true, false or unknown at each bar
outputs   everything an indicator gives, one series for each name
"""

from dataclasses import dataclass, replace
from typing import Literal

from indicator_service.domain.indicator import Indicator, Value

__all__ = [
    "Binary",
    "BuiltIn",
    "Call",
    "Column",
    "Kind",
    "Lag",
    "Node",
    "Not",
    "Number",
    "Source",
    "Text",
    "Truth",
    "extent_of",
    "parts_of",
    "with_source",
]

Kind = Literal["number", "numbers", "booleans", "outputs", "text"]


@dataclass(frozen=True, slots=True)
class Number:
    value: float

    @property
    def kind(self) -> Kind:
        return "number"


@dataclass(frozen=True, slots=True)
class Text:
    """A choice or a date: an argument, never a series."""

    value: str

    @property
    def kind(self) -> Kind:
        return "text"


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool

    @property
    def kind(self) -> Kind:
        return "booleans"


@dataclass(frozen=True, slots=True)
class Column:
    """Of the bars, or made of several."""

    name: str

    @property
    def kind(self) -> Kind:
        return "numbers"


@dataclass(frozen=True, slots=True)
class Source:
    """The series that whoever uses a named expression chooses."""

    @property
    def kind(self) -> Kind:
        return "numbers"


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Node"

    @property
    def kind(self) -> Kind:
        return "booleans"


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: "Node"
    right: "Node"

    @property
    def kind(self) -> Kind:
        return "numbers" if self.operator in "+-*/" else "booleans"


@dataclass(frozen=True, slots=True)
class Lag:
    """What `operand` was `bars` bars before, one or more."""

    operand: "Node"
    bars: int

    @property
    def kind(self) -> Kind:
        return self.operand.kind


@dataclass(frozen=True, slots=True)
class Call:
    """An indicator: the series of its free inputs, the values of all its parameters in their order, the output wanted (None: all
    of several)."""

    indicator: Indicator
    inputs: tuple["Node", ...]
    values: tuple[Value, ...]
    output: str | None

    @property
    def kind(self) -> Kind:
        if self.output is None:
            return "outputs"
        return "booleans" if self.output in self.indicator.truths else "numbers"

    @property
    def named(self) -> dict[str, Value]:
        return {parameter.name: value for parameter, value in zip(self.indicator.parameters, self.values, strict=True)}


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A function of the language (see builtins.py): `arguments` are series, `constants` what follows them."""

    name: str
    arguments: tuple["Node", ...]
    constants: tuple[Value, ...]
    kind: Kind


Node = Number | Text | Truth | Column | Source | Not | Binary | Lag | Call | BuiltIn


def parts_of(node: Node) -> tuple[Node, ...]:
    """What it is made of."""
    match node:
        case Not(operand) | Lag(operand):
            return (operand,)
        case Binary(_, left, right):
            return left, right
        case Call():
            return node.inputs
        case BuiltIn():
            return node.arguments
        case _:
            return ()


def extent_of(node: Node, source: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    """Nodes, each as often as it comes, and how deep they are nested; with something of the extent `source` wherever the source
    stands."""
    if isinstance(node, Source):
        return source
    extents = [extent_of(part, source) for part in parts_of(node)]
    return 1 + sum(nodes for nodes, _ in extents), 1 + max((depth for _, depth in extents), default=0)


def with_source(node: Node, series: Node) -> Node:
    """With the series wherever the source stood."""
    parts = tuple(with_source(part, series) for part in parts_of(node))
    made = node
    match node:
        case Source():
            made = series
        case Not():
            made = Not(*parts)
        case Lag(_, bars):
            (inner,) = parts
            made = Lag(inner.operand, inner.bars + bars) if isinstance(inner, Lag) else Lag(inner, bars)
        case Binary(operator, _, _):
            made = Binary(operator, *parts)
        case Call():
            made = replace(node, inputs=parts)
        case BuiltIn():
            made = replace(node, arguments=parts)
    return made
