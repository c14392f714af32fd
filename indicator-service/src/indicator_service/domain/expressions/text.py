"""The one spelling of a tree: what `parse` makes an equal tree of. All parameters are written out, so it is an identity."""

from indicator_service.domain.expressions.tree import Binary, BuiltIn, Call, Column, Lag, Node, Not, Number, Source, Text, Truth
from indicator_service.domain.indicator import Value

__all__ = ["text_of"]

_BINDS = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6}
_NOT, _COMPARISON, _MINUS, _ATOM = 3, 4, 7, 8


def text_of(node: Node) -> str:
    return _written(node)[0]


def _written(node: Node) -> tuple[str, int]:
    """And how tightly it binds."""
    if isinstance(node, Number):
        return number_text(node.value), _MINUS if str(node.value).startswith("-") else _ATOM
    if isinstance(node, Not):
        return f"not {_inside(node.operand, _NOT)}", _NOT
    if isinstance(node, Binary):
        binds = _BINDS.get(node.operator, _COMPARISON)
        # sides of the same kind: the left one is read first; comparisons are not chained
        left = _inside(node.left, binds + (binds == _COMPARISON))
        return f"{left} {node.operator} {_inside(node.right, binds + 1)}", binds
    if isinstance(node, Lag):
        return f"{_inside(node.operand, _ATOM)}[-{node.bars}]", _ATOM
    return (_call(node) if isinstance(node, Call | BuiltIn) else _leaf(node)), _ATOM


def _leaf(node: Text | Truth | Column | Source) -> str:
    if isinstance(node, Text):
        return f'"{node.value}"'
    if isinstance(node, Truth):
        return str(node.value).lower()
    return node.name if isinstance(node, Column) else "source"


def _call(node: Call | BuiltIn) -> str:
    if isinstance(node, BuiltIn):
        given = [text_of(argument) for argument in node.arguments] + [_constant(value) for value in node.constants]
        return f"{node.name}({', '.join(given)})"
    given = [text_of(series) for series in node.inputs]
    given += [
        f"{p.name}={value if p.type == 'choice' else _constant(value)}"
        for p, value in zip(node.indicator.parameters, node.values, strict=True)
    ]
    chosen = f".{node.output}" if node.output is not None and len(node.indicator.outputs) > 1 else ""
    return f"{node.indicator.name}({', '.join(given)}){chosen}"


def _inside(node: Node, binds: int) -> str:
    text, own = _written(node)
    return text if own >= binds else f"({text})"


def _constant(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else number_text(value)


def number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
