"""What stands between a function's brackets, given to its inputs and parameters."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol, runtime_checkable

import numpy as np
from lark import Token, Tree

from indicator_service.domain.engine import TalibCall
from indicator_service.domain.expressions.builtins import BUILT_INS, Constant
from indicator_service.domain.expressions.places import Place, Refusal, place_of
from indicator_service.domain.expressions.tree import BuiltIn, Call, Column, Node, Number, Text
from indicator_service.domain.indicator import Indicator, Parameter, Value
from indicator_service.domain.parameters import parse_values
from shared.errors import InvalidInput

__all__ = ["Inlined", "bound", "built_in"]

_Tree = Tree[Token]


class _Reader(Protocol):
    def node(self, tree: _Tree) -> Node: ...

    def series(self, tree: _Tree, *, numbers: bool, of: str) -> Node: ...

    def inlined(self, root: Node, series: Sequence[Node], place: Place) -> Node: ...


@runtime_checkable
class Inlined(Protocol):
    """The work of an indicator that is an expression itself: calling it is as good as writing that, its input for the source."""

    def root(self, values: Mapping[str, Value]) -> Node: ...


def bound(reader: _Reader, indicator: Indicator, given: Sequence[_Tree], whole: Place) -> Node:
    """An indicator's: series go to its free inputs, constants to its parameters, each in the catalogue's order."""
    inputs: dict[str, Node] = {}
    values: dict[str, Node] = {}
    places: dict[str, Place] = {}
    named = False
    for tree in given:
        keyword, node = _argument(reader, indicator, tree)
        if len(given) == 1 and isinstance(node, Number) and (folded := _folded(indicator, node, whole)) is not None:
            return folded
        if named and keyword is None:
            raise Refusal(place_of(tree), "what is given by its name stands last", "argument")
        named = keyword is not None
        keyword = keyword or _next(indicator, inputs, values, tree, node)
        if keyword in places:
            raise Refusal(place_of(tree), f"{keyword} is given twice", "argument")
        places[keyword] = place_of(tree)
        if keyword in indicator.series_parameters and node.kind != "numbers":
            raise Refusal(place_of(tree), f"{keyword} is a series", "type", "close")
        (inputs if keyword in indicator.series_parameters else values)[keyword] = node
    series = [
        inputs.get(name) or Column(default)
        for name, default in zip(indicator.series_parameters, indicator.series_defaults, strict=True)
    ]
    resolved = _values(indicator, values, places, whole)
    if isinstance(indicator.work, Inlined):
        return reader.inlined(indicator.work.root(resolved), series, whole)
    output = indicator.outputs[0] if len(indicator.outputs) == 1 else None
    return Call(indicator, tuple(series), tuple(resolved[parameter.name] for parameter in indicator.parameters), output)


def _folded(indicator: Indicator, constant: Number, whole: Place) -> Number | None:
    """A function of each bar's number alone is one of a constant too: `sqrt(2)`."""
    if indicator.group != "Math Transform" or not isinstance(indicator.work, TalibCall):
        return None
    alone = np.array([constant.value])
    value = float(indicator.work.of([alone], {}).columns["value"][0])
    if not np.isfinite(value):
        raise Refusal(whole, f"{indicator.name} has no value here", "value")
    return Number(value)


def _next(indicator: Indicator, inputs: Mapping[str, Node], values: Mapping[str, Node], tree: _Tree, node: Node) -> str:
    """What is given by its place alone."""
    is_series = node.kind == "numbers"
    names = indicator.series_parameters if is_series else [parameter.name for parameter in indicator.parameters]
    at = len(inputs) if is_series else len(values)
    if at < len(names):
        return names[at]
    what = "series" if is_series else "constant"
    takes = f"takes {', '.join(names)}" if names else "takes none"
    raise Refusal(place_of(tree), f"one {what} too many: {indicator.name} {takes}", "argument", _hint(indicator, node))


def _hint(indicator: Indicator, node: Node) -> str | None:
    if indicator.name in {"max", "min"} and node.kind == "numbers":
        return f"{indicator.name}imum(a, b) of two series; {indicator.name}(close, 20) of the last bars"
    return None


def _argument(reader: _Reader, indicator: Indicator, tree: _Tree) -> tuple[str | None, Node]:
    """A keyword, if there is one, and what was given: a bare word may be a choice."""
    keyword, value = None, tree
    if tree.data == "keyword":
        keyword, value = str(tree.children[0]).lower(), tree.children[-1]  # type: ignore[assignment]  # a tree
    choices = {choice for parameter in indicator.parameters for choice in parameter.choices}
    if value.data == "name" and (word := str(value.children[0]).lower()) in choices:
        return keyword, Text(word)
    node = reader.node(value)
    if node.kind in {"booleans", "outputs"}:
        node = reader.series(value, numbers=True, of=indicator.name)
    return keyword, node


def _plain(indicator: Indicator, name: str, node: Node, place: Place) -> Any:
    if isinstance(node, Text):
        return node.value
    if not isinstance(node, Number):
        raise Refusal(place, f"{name} is a constant of {indicator.name}", "type", _range(indicator, name))
    whole = any(p.type == "int" and name in (p.name, *p.aliases) for p in indicator.parameters)
    return int(node.value) if whole and node.value.is_integer() else node.value


def _values(indicator: Indicator, given: Mapping[str, Node], places: Mapping[str, Place], whole: Place) -> dict[str, Value]:
    sent = {name: _plain(indicator, name, node, places[name]) for name, node in given.items()}
    try:
        return parse_values(indicator, sent)
    except InvalidInput as refused:
        error = refused.errors[0]
        name = str(error["loc"][0]) if error["loc"] else ""
        place = places.get(name) or next((at for alias, at in places.items() if name in _meant(indicator, alias)), whole)
        unknown = error["type"] == "extra_forbidden"
        known = ", ".join(parameter.name for parameter in indicator.parameters) or "no parameters"
        hint = f"there are {known}" if unknown else _range(indicator, name)
        msg = f"{indicator.name} has no parameter {name}" if unknown else f"{name}: {error['msg']}"
        raise Refusal(place, msg, "argument", hint) from None


def _meant(indicator: Indicator, alias: str) -> set[str]:
    return {parameter.name for parameter in indicator.parameters if alias in parameter.aliases}


def _range(indicator: Indicator, name: str) -> str | None:
    parameter: Parameter | None = next((p for p in indicator.parameters if name in (p.name, *p.aliases)), None)
    if parameter is None:
        return None
    if parameter.choices:
        return f"one of {', '.join(parameter.choices)}"
    if parameter.type == "date":
        return '"2013-01-02"'
    return f"{'whole, ' if parameter.type == 'int' else ''}{parameter.minimum:g} to {parameter.maximum:g}"


def built_in(reader: _Reader, name: str, given: Sequence[_Tree], whole: Place) -> Node:
    """A built-in's: in their order, series first."""
    signature = BUILT_INS[name]
    least = len(signature.series) + len([constant for constant in signature.constants if constant.default is None])
    most = len(signature.series) + len(signature.constants)
    if not least <= len(given) <= most:
        count = str(least) if least == most else f"{least} or {most}"
        raise Refusal(whole, f"{name} takes {count}, not {len(given)}", "argument", signature.meaning)
    for tree in given:
        if tree.data == "keyword":
            raise Refusal(place_of(tree), f"{name} takes its arguments by their order", "argument")
    arguments = [
        reader.series(tree, numbers=kind == "numbers", of=name) for tree, kind in zip(given, signature.series, strict=False)
    ]
    rest = given[len(signature.series) :]
    constants = [
        _constant(reader, constant, rest[at]) if at < len(rest) else constant.default
        for at, constant in enumerate(signature.constants)
    ]
    if all(isinstance(argument, Number) for argument in arguments):
        if not signature.folds:
            raise Refusal(place_of(given[0]), f"{name} wants a series; this is a constant", "type", "close")
        folded = float(signature.apply(*[argument.value for argument in arguments if isinstance(argument, Number)], *constants))
        if not np.isfinite(folded):
            raise Refusal(whole, "no number is as large", "value")
        return Number(folded)
    return BuiltIn(name, tuple(arguments), tuple(constants), signature.result)  # type: ignore[arg-type]  # none is None here


def _constant(reader: _Reader, constant: Constant, tree: _Tree) -> Value:
    node, place = reader.node(tree), place_of(tree)
    if constant.type == "date":
        if not isinstance(node, Text) or not _is_date(node.value):
            raise Refusal(place, f"{constant.name} is a date", "argument", '"2013-01-02"')
        return node.value
    if not isinstance(node, Number) or not node.value.is_integer() or not constant.minimum <= node.value <= constant.maximum:
        wanted = f"a whole number from {constant.minimum} to {constant.maximum}"
        raise Refusal(place, f"{constant.name} is {wanted}", "argument", wanted)
    return int(node.value)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
