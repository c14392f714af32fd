"""From text to a typed tree. Whatever is amiss is an `InvalidExpression` at its place: nothing is guessed."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from lark import Token, Tree

from indicator_service.domain.columns import COLUMNS
from indicator_service.domain.errors import InvalidExpression
from indicator_service.domain.expressions.arguments import bound, built_in
from indicator_service.domain.expressions.arrays import ARITHMETIC, COMPARISONS
from indicator_service.domain.expressions.builtins import BUILT_INS, MOST_BARS
from indicator_service.domain.expressions.places import Place, Refusal, place_of
from indicator_service.domain.expressions.syntax import MOST_DEPTH, MOST_NODES, syntax_of
from indicator_service.domain.expressions.tree import (
    Binary,
    Call,
    Column,
    Lag,
    Node,
    Not,
    Number,
    Source,
    Text,
    Truth,
    extent_of,
    with_source,
)
from indicator_service.domain.indicator import Functions, Value

__all__ = ["parse"]

SOURCE = "source"


def parse(
    text: str, functions: Functions, constants: Mapping[str, Value | Node], loc: Sequence[str | int], *, source: bool
) -> Node:
    """`constants` have names in lower case; `source`: whether there is a series of that name. Raises InvalidExpression."""
    try:
        return _Reader(functions, constants, source=source).read(text)
    except Refusal as refusal:
        raise InvalidExpression(refusal.mistake, tuple(loc)) from None


class _Reader:
    def __init__(self, functions: Functions, constants: Mapping[str, Value | Node], *, source: bool) -> None:
        self._functions = functions
        self._constants = constants
        self._source = source
        self._inlined = 0

    def read(self, text: str) -> Node:
        tree = syntax_of(text)
        node = self.node(tree)
        if node.kind == "text":
            raise Refusal(place_of(tree), "a text is no series", "type")
        return node

    def node(self, tree: Tree[Token]) -> Node:
        read: Node = getattr(self, f"_{tree.data}")(tree)
        return read

    def series(self, tree: Tree[Token], *, numbers: bool, of: str) -> Node:
        """Of numbers (a constant is one too) or of truths, and nothing else."""
        node = self.node(tree)
        place = place_of(tree)
        if isinstance(node, Call) and node.kind == "outputs":
            names = node.indicator.outputs
            hint = f"{node.indicator.name}(…).{names[0]}"
            raise Refusal(place, f"{node.indicator.name} has several outputs: {', '.join(names)}", "type", hint)
        if numbers and node.kind == "booleans":
            hint = "and, or and not join conditions" if of in COMPARISONS else "where(condition, 1, 0) makes a number of it"
            raise Refusal(place, f"{of} wants a number; this is a condition", "type", hint)
        if not numbers and node.kind in {"number", "numbers"}:
            raise Refusal(place, f"{of} wants a condition; this is a number", "type", "compare it: < <= > >= == !=")
        if node.kind == "text":
            raise Refusal(place, f"{of} has no use for a text", "type")
        return node

    def inlined(self, root: Node, series: Sequence[Node], place: Place) -> Node:
        """What an expression that is called with these series stands for; all of them together no more than one may write."""
        # before it is written out: that may be its size times theirs
        nodes, depth = extent_of(root, *map(extent_of, series))
        self._inlined += nodes
        if self._inlined > MOST_NODES or depth > MOST_DEPTH:
            what = (
                f"more than {MOST_NODES} parts together" if depth <= MOST_DEPTH else f"parts nested more than {MOST_DEPTH} deep"
            )
            raise Refusal(place, f"what is called has {what}", "too_complex")
        return with_source(root, *series) if series else root

    def _number(self, tree: Tree[Token]) -> Node:
        return _finite(float(str(tree.children[0])), place_of(tree))

    def _text(self, tree: Tree[Token]) -> Node:
        return Text(str(tree.children[0])[1:-1])

    def _name(self, tree: Tree[Token]) -> Node:
        name = str(tree.children[0]).lower()
        if name in {"true", "false"}:
            return Truth(name == "true")
        if name in self._constants:
            value = self._constants[name]
            if isinstance(value, int | float):
                return Number(float(value))
            return Text(value) if isinstance(value, str) else value
        if name in COLUMNS:
            return Column(name)
        if name == SOURCE and self._source:
            return Source()
        if name in self._functions or name in BUILT_INS:
            raise Refusal(place_of(tree), f"{name} is a function", "name", f"{name}()")
        return self._unknown(tree.children[0], "column or function", [*COLUMNS, *self._constants, *self._callable()])

    def _callable(self) -> Iterator[str]:
        yield from BUILT_INS
        yield from self._functions

    @staticmethod
    def _unknown(token: Any, what: str, names: Sequence[str]) -> NoReturn:
        similar = difflib.get_close_matches(str(token).lower(), names, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else None
        raise Refusal(place_of(token), f"there is no {what} {token}", "name", hint)

    def _disjunction(self, tree: Tree[Token]) -> Node:
        return self._joined(tree, "or")

    def _conjunction(self, tree: Tree[Token]) -> Node:
        return self._joined(tree, "and")

    def _joined(self, tree: Tree[Token], operator: str) -> Node:
        first, *others = [self.series(side, numbers=False, of=operator) for side in _trees(tree)]
        for other in others:
            first = Binary(operator, first, other)
        return first

    def _negation(self, tree: Tree[Token]) -> Node:
        (operand,) = _trees(tree)
        return Not(self.series(operand, numbers=False, of="not"))

    def _comparison(self, tree: Tree[Token]) -> Node:
        if len(tree.children) > 3:
            raise Refusal(place_of(tree.children[3]), "comparisons are not chained", "syntax", "a < b and b < c")
        return self._binary(tree)

    def _sum(self, tree: Tree[Token]) -> Node:
        return self._binary(tree)

    _product = _sum

    def _binary(self, tree: Tree[Token]) -> Node:
        left_tree, sign, right_tree = tree.children
        operator = str(sign)
        left = self.series(left_tree, numbers=True, of=operator)  # type: ignore[arg-type]  # sides are trees
        right = self.series(right_tree, numbers=True, of=operator)  # type: ignore[arg-type]
        if not (isinstance(left, Number) and isinstance(right, Number)):
            return Binary(operator, left, right)
        if operator in COMPARISONS:
            return Truth(bool(COMPARISONS[operator](left.value, right.value).true))
        if operator == "/" and right.value == 0:
            raise Refusal(place_of(right_tree), "division by zero", "value")
        return _finite(float(ARITHMETIC[operator](left.value, right.value)), place_of(tree))

    def _minus(self, tree: Tree[Token]) -> Node:
        (operand,) = _trees(tree)
        node = self.series(operand, numbers=True, of="-")
        return Number(-node.value) if isinstance(node, Number) else Binary("*", Number(-1.0), node)

    def _lag(self, tree: Tree[Token]) -> Node:
        operand, index = _trees(tree)
        node = self.node(operand)
        if node.kind in {"outputs", "text"}:
            node = self.series(operand, numbers=True, of="[]")
        bars, place = self.node(index), place_of(index)
        if not isinstance(bars, Number) or not bars.value.is_integer():
            raise Refusal(place, "a lag is a whole number", "type", "close[-1] is the bar before")
        if bars.value > 0:
            raise Refusal(place, "there is no look-ahead", "value", f"[-{int(bars.value)}] for so many bars before")
        if bars.value < -MOST_BARS:
            raise Refusal(place, f"at most {MOST_BARS} bars", "value")
        if bars.value == 0 or isinstance(node, Number | Truth):
            return node
        already = node.bars if isinstance(node, Lag) else 0
        if already - bars.value > MOST_BARS:
            raise Refusal(place, f"at most {MOST_BARS} bars together", "value")
        return Lag(node.operand if isinstance(node, Lag) else node, already - int(bars.value))

    def _output(self, tree: Tree[Token]) -> Node:
        of, name = tree.children
        node = self.node(of)  # type: ignore[arg-type]  # a tree
        if not isinstance(node, Call) or node.output is not None:
            raise Refusal(place_of(name), "it has no outputs to choose from", "type", "leave it out")
        wanted = str(name).lower()
        if wanted not in node.indicator.outputs:
            self._unknown(name, f"output of {node.indicator.name}", node.indicator.outputs)
        return Call(node.indicator, node.inputs, node.values, wanted)

    def _call(self, tree: Tree[Token]) -> Node:
        token = tree.children[0]
        name = str(token).lower()
        given = list(_trees(tree.children[1])) if len(tree.children) > 1 else []  # type: ignore[arg-type]  # arguments
        if name in BUILT_INS:
            return built_in(self, name, given, place_of(tree))
        if (indicator := self._functions.get(name)) is not None:
            return bound(self, indicator, given, place_of(tree))
        if name in COLUMNS:
            raise Refusal(place_of(token), f"{name} is a column, not a function", "name", name)
        return self._unknown(token, "function", list(self._callable()))

    def _keyword(self, tree: Tree[Token]) -> NoReturn:
        raise Refusal(place_of(tree), "a name stands before a value only among a function's arguments", "syntax")


def _trees(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    return (child for child in tree.children if isinstance(child, Tree))


def _finite(value: float, place: Place) -> Number:
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN is the one that is not itself
        raise Refusal(place, "no number is as large", "value")
    return Number(value)
