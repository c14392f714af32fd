"""Named expressions: indicators made of others, by data alone. Those of `named.toml`, and whatever a user defines, are alike."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from indicator_service.domain.expressions import Expression, expression_of
from indicator_service.domain.expressions.program import Program, compiled
from indicator_service.domain.expressions.tree import Node, Source
from indicator_service.domain.indicator import Computation, Functions, Indicator, Parameter, Value
from indicator_service.domain.outputs import Column, Outputs, Truths
from indicator_service.domain.series import Bars, Floats
from indicator_service.domain.talib_info import MA_TYPES

__all__ = ["Definition", "NamedWork", "named_indicator", "shipped"]

_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False, slots=True)
class Definition:
    """`outputs` by name, in order, each the text of an expression; `let` are names for parts of them. Both may call `functions`,
    the parameters by their names, and `source`, the series of the caller's choice. `loc` says where a client wrote it."""

    outputs: Mapping[str, str]
    let: Mapping[str, str]
    functions: Functions
    loc: tuple[str, ...] = ()

    def expressions(self, values: Mapping[str, Value]) -> Mapping[str, Expression]:
        """Of each output, with the parameters put in. Raises InvalidExpression."""
        return _expressions(self, tuple(values.items()))

    def program(self, values: Mapping[str, Value]) -> Program:
        return _program(self, tuple(values.items()))

    @property
    def formula(self) -> str:
        """As it is computed."""
        said = [text if name == "value" else f"{name} = {text}" for name, text in self.outputs.items()]
        return "; ".join(said) + "".join(f"; {name} = {text}" for name, text in self.let.items())


@lru_cache(1024)
def _expressions(definition: Definition, values: tuple[tuple[str, Value], ...]) -> Mapping[str, Expression]:
    names: dict[str, Value | Node] = dict(values)
    for name, text in definition.let.items():
        names[name] = expression_of(text, definition.functions, names, loc=("let", name), source=True).root
    return {
        name: expression_of(text, definition.functions, names, loc=definition.loc or ("outputs", name), source=True)
        for name, text in definition.outputs.items()
    }


@lru_cache(1024)
def _program(definition: Definition, values: tuple[tuple[str, Value], ...]) -> Program:
    return compiled(*(expression.root for expression in _expressions(definition, values).values()))


@dataclass(frozen=True, eq=False, slots=True)
class NamedWork:
    """How a definition is computed: the same `Work` as a function of TA-Lib's."""

    definition: Definition
    defaults: Mapping[str, Value]

    @property
    def recursive(self) -> bool:
        return self.warmup(self.defaults) != self.lookback(self.defaults)

    def lookback(self, values: Mapping[str, Value]) -> int:
        return max(expression.lookback for expression in self.definition.expressions(values).values())

    def warmup(self, values: Mapping[str, Value]) -> int | None:
        required = [expression.required for expression in self.definition.expressions(values).values()]
        known = [bars for bars in required if bars is not None]
        return max(known) if len(known) == len(required) else None

    def cost(self, values: Mapping[str, Value]) -> float:
        return sum(expression.cost for expression in self.definition.expressions(values).values())

    def bound(self, values: Mapping[str, Value]) -> Computation:
        program, names = self.definition.program(values), tuple(self.definition.outputs)

        def computed(bars: Bars, inputs: Sequence[Floats]) -> Outputs:
            columns: dict[str, Column] = {}
            unknown = {}
            for name, series in zip(names, program.evaluate(bars, inputs), strict=True):
                if isinstance(series, Truths):
                    columns[name], unknown[name] = series.true, series.unknown
                else:
                    columns[name] = np.asarray(np.broadcast_to(series, len(bars)), dtype=np.float64)  # type: ignore[arg-type]
            return Outputs(columns, 0, unknown)

        return computed


def named_indicator(
    name: str,
    title: str,
    definition: Definition,
    parameters: Sequence[Parameter] = (),
    *,
    aliases: Sequence[str] = (),
    group: str = "Named Expressions",
    note: str = "",
    reference: str = "",
) -> Indicator:
    """Raises InvalidExpression, its `loc` that of the definition, or beginning with `outputs` or `let`."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    expressions = definition.expressions(defaults)
    chosen = any(isinstance(node, Source) for expression in expressions.values() for node in expression.nodes)
    needed = frozenset[str]().union(*(expression.columns for expression in expressions.values()))
    return Indicator(
        name=name,
        title=title,
        type="indicator",
        group=group,
        aliases=tuple(aliases),
        inputs=(*((None,) if chosen else ()), *(column for column in _COLUMNS if column in needed)),
        series_defaults=("close",) if chosen else (),
        outputs=tuple(definition.outputs),
        parameters=tuple(parameters),
        ordered=(),
        formula=f"{definition.formula}. {note}" if note else definition.formula,
        reference=reference,
        work=NamedWork(definition, defaults),
        truths=tuple(output for output, expression in expressions.items() if expression.kind == "booleans"),
    )


def shipped(text: str, functions: Functions, aliases_of: Mapping[str, Sequence[str]]) -> list[Indicator]:
    """Those of a text like `named.toml`, made of functions and of those before them; `aliases_of` a parameter, by its name."""
    return [_shipped(name, entry, functions, aliases_of) for name, entry in tomllib.loads(text).items()]


def _shipped(name: str, entry: Mapping[str, Any], functions: Functions, aliases_of: Mapping[str, Sequence[str]]) -> Indicator:
    return named_indicator(
        name,
        entry["title"],
        Definition(entry["outputs"], entry.get("let", {}), functions),
        [_parameter(*row, aliases=aliases_of.get(row[0], ())) for row in entry.get("parameters", ())],
        aliases=entry.get("aliases", ()),
        group=entry["group"],
        note=entry.get("note", ""),
        reference=entry.get("source", "an expression of TA-Lib's functions"),
    )


def _parameter(name: str, type_: str, default: Value, *rest: Any, aliases: Sequence[str]) -> Parameter:
    if type_ == "ma_type":
        return Parameter(name, "choice", default, None, None, tuple(MA_TYPES), tuple(aliases), *rest)
    if type_ == "date":
        return Parameter(name, "date", default, None, None, (), tuple(aliases), *rest)
    minimum, maximum, meaning = rest
    return Parameter(name, "int" if type_ == "int" else "float", default, minimum, maximum, (), tuple(aliases), meaning)
