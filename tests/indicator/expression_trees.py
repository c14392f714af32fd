"""Expressions made at random, and an interpreter that reads a tree bar by bar, as slowly as that is."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from indicator_service.domain.columns import column_of
from indicator_service.domain.expressions.tree import Binary, BuiltIn, Call, Column, Lag, Node, Not, Number, Truth
from indicator_service.domain.series import Bars
from tests.indicator.samples import call_of

NUMBERS = ("close", "open", "high", "low", "volume", "hl2", "hlc3", "hlcc4", "ohlc4")
CONSTANTS = ("0", "1", "2.5", "-3", "1e-3", "100")
WINDOWS = st.integers(1, 8)
CALLS: tuple[str, ...] = (
    "sma({x}, {n})",
    "rsi({x}, {n})",
    "ema({x}, {n})",
    "bbands({x}, {n}).upper",
    "macd({x}, 3, 6, {n}).histogram",
    "cumsum({x})",
    "atr({n})",
    "obv({x})",
    "ln({x})",
    "sqrt({x})",
    "maxindex({x}, {n})",
    "cdldoji()",
    "supertrend({n}).trend",
    "max({x}, {n})",
)
CALLS += ("correl({x}, {y}, {n})", "stochrsi({x}, {n}).k", "div({x}, {y})", "kama({x}, {n})")


@st.composite
def numbers(draw: Any, depth: int = 3) -> str:  # noqa: PLR0911 - a form each
    """The text of a series of numbers."""
    if depth == 0:
        return str(draw(st.sampled_from(NUMBERS)))
    inner = numbers(depth - 1)
    x, n = draw(inner), draw(WINDOWS)
    form = draw(st.integers(0, 8))
    if form == 0:
        return f"({x} {draw(st.sampled_from('+-*/'))} {draw(inner | st.sampled_from(CONSTANTS))})"
    if form == 1:
        return f"{x}[-{n}]" if not x.startswith("-") else f"({x})[-{n}]"
    if form <= 4:
        return str(draw(st.sampled_from(CALLS))).format(x=x, y=draw(inner), n=max(2, n))
    if form == 5:
        return f"{draw(st.sampled_from(('highest', 'lowest')))}({x}, {n})"
    if form == 6:
        return f"{draw(st.sampled_from(('since', 'streak')))}({draw(truths(depth - 1))})"
    if form == 7:
        return f"where({draw(truths(depth - 1))}, {x}, {draw(inner | st.sampled_from(CONSTANTS))})"
    one = draw(st.sampled_from(("abs({x})", "sign({x})", "round({x}, 2)", "-{x}", "maximum({x}, {y})", "coalesce({x}, {y})")))
    return str(one).format(x=x, y=draw(inner))


@st.composite
def truths(draw: Any, depth: int = 3) -> str:
    """The text of a condition."""
    inner = numbers(max(0, depth - 1))
    form = draw(st.integers(0, 6)) if depth else 0
    x, y, n = draw(inner), draw(inner | st.sampled_from(CONSTANTS)), draw(WINDOWS)
    if form <= 1:
        return f"{x} {draw(st.sampled_from(('<', '<=', '>', '>=', '==', '!=')))} {y}"
    if form == 2:
        return f"({draw(truths(depth - 1))}) {draw(st.sampled_from(('and', 'or')))} ({draw(truths(depth - 1))})"
    if form == 3:
        return f"not ({draw(truths(depth - 1))})"
    if form == 4:
        return f"{draw(st.sampled_from(('crosses_above', 'crosses_below')))}({x}, {y})"
    if form == 5:
        return f"{draw(st.sampled_from(('rising', 'falling')))}({x}, {n})"
    return str(draw(st.sampled_from((f"missing({x})", f"({draw(truths(depth - 1))})[-{n}]", "true", "false"))))


class Interpreter:
    """A value at a bar: a float, True, False, or None for what is missing or unknown."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.at = cache(self._at)
        self._stretch = cache(self._computed)
        self._column = cache(lambda name: column_of(bars, name))

    def all(self, node: Node) -> list[Any]:
        return [self.at(node, t) for t in range(len(self._bars))]

    def _at(self, node: Node, t: int) -> Any:  # noqa: PLR0911 - a kind of node each
        if t < 0:
            return None
        match node:
            case Number(value) | Truth(value):
                return value
            case Column(name):
                return float(self._column(name)[t])
            case Lag(operand, bars):
                return self.at(operand, t - bars)
            case Not(operand):
                return _not(self.at(operand, t))
            case Binary(operator, left, right):
                return _binary(operator, self.at(left, t), self.at(right, t))
            case BuiltIn():
                return self._built_in(node, t)
            case Call():
                return self._call(node, t)
        raise TypeError(node)

    def _built_in(self, node: BuiltIn, t: int) -> Any:  # noqa: PLR0911 - a function each
        a, (n, *_) = node.arguments, (*node.constants, 0)
        x = [self.at(argument, t) for argument in a]
        match node.name:
            case "crosses_above" | "crosses_below":
                now, then = (">", "<=") if node.name == "crosses_above" else ("<", ">=")
                before = [self.at(argument, t - 1) if not isinstance(argument, Number) else argument.value for argument in a]
                return _and(_binary(now, *x), _binary(then, *before))
            case "highest" | "lowest":
                window = [self.at(a[0], at) for at in range(t - int(n) + 1, t + 1)]
                return None if None in window else (max if node.name == "highest" else min)(window)
            case "rising" | "falling":
                sign = ">" if node.name == "rising" else "<"
                moves = [_binary(sign, self.at(a[0], at), self.at(a[0], at - 1)) for at in range(t - int(n) + 1, t + 1)]
                return False if False in moves else None if None in moves else True
            case "since":
                return self._since(a[0], t)
            case "streak":
                return None if x[0] is None else float(self._streak(a[0], t))
            case "where":
                return None if x[0] is None else x[1] if x[0] else x[2]
            case "coalesce":
                return x[1] if x[0] is None else x[0]
            case "missing":
                return x[0] is None
            case _:
                return None if None in x else _plain(node.name, *x, n=int(n))

    def _since(self, condition: Node, t: int) -> Any:
        for bars in range(t + 1):
            held = self.at(condition, t - bars)
            if held is None or held:
                return None if held is None else float(bars)
        return None

    def _streak(self, condition: Node, t: int) -> int:
        count = 0
        while self.at(condition, t - count):
            count += 1
        return count

    def _call(self, node: Call, t: int) -> Any:
        """On the numbers without a gap up to this bar, and no others."""
        inputs = [self.at(part, t) for part in node.inputs]
        if None in inputs:
            return None
        first = t
        while first and None not in [self.at(part, first - 1) for part in node.inputs]:
            first -= 1
        return self._stretch(node, first, t)

    def _computed(self, node: Call, first: int, t: int) -> Any:
        call = call_of(node.indicator)
        if t - first < call.lookback(node.named):
            return None
        free = iter(node.inputs)
        parts = [next(free) if column is None else Column(column) for column in node.indicator.inputs]
        arrays = [np.array([self.at(part, at) for at in range(first, t + 1)]) for part in parts]
        computed = call.call(*arrays, *call.arguments(node.named))
        columns: Sequence[Any] = computed if isinstance(computed, tuple) else (computed,)
        value = float(columns[node.indicator.outputs.index(str(node.output))][-1])
        return value + first * (node.indicator.name == "maxindex") if math.isfinite(value) else None


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _and(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def _binary(operator: str, a: Any, b: Any) -> Any:
    if operator == "and":
        return _and(a, b)
    if operator == "or":
        return _not(_and(_not(a), _not(b)))
    if a is None or b is None:
        return None
    if operator in "+-*/":
        with np.errstate(all="ignore"):
            x, y = np.float64(a), np.float64(b)
            result = float({"+": x + y, "-": x - y, "*": x * y}[operator] if operator != "/" else x / y)
        return result if math.isfinite(result) else None
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[operator]


def _plain(name: str, a: float, b: float = 0, *, n: int) -> float:
    return {
        "abs": lambda: abs(a),
        "sign": lambda: float((a > 0) - (a < 0)),
        "round": lambda: float(np.round(a, n)),
        "maximum": lambda: max(a, b),
        "minimum": lambda: min(a, b),
    }[name]()
