"""A tree as steps that can be run on any bars: compiled once, each equal sub-tree one step.

It runs in two ways. On everything, each step gives whole series. For the newest values alone of many symbols, the indicators,
always computed on the whole history, run for each by itself; of what they give as much as is looked back on is laid out, a row
for each symbol, and all that follows runs once for all of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indicator_service.domain.columns import column_of
from indicator_service.domain.expressions.arrays import (
    ARITHMETIC,
    COMPARISONS,
    Numbers,
    both,
    either,
    finite,
    inverted,
    lagged,
    newest,
    output_of,
    stacked,
    tail,
)
from indicator_service.domain.expressions.builtins import BUILT_INS, Signature
from indicator_service.domain.expressions.tree import Binary, BuiltIn, Call, Column, Lag, Node, Number, Source, Truth, parts_of
from indicator_service.domain.outputs import Outputs, Truths
from indicator_service.domain.series import Bars, Floats

__all__ = ["Newest", "Program", "compiled"]

Newest = float | bool | None
_Series = Numbers | Truths | Outputs
_MOST_ROWS = 128
"""Symbols whose newest values are computed together: enough for what is done once to weigh little."""
_MOST_CELLS = 1 << 16
"""Of those, and so of memory."""
_LOGIC: Mapping[str, Callable[..., Any]] = {**ARITHMETIC, **COMPARISONS, "and": both, "or": either}


@dataclass(frozen=True, slots=True)
class _Step:
    """`run` takes what the steps `arguments` gave; one `of_bars` as a sequence, after the bars and the caller's series. `reach`:
    how many bars before its own it looks at, None all. One that takes an output of an indicator, and does nothing else, says
    which."""

    run: Callable[..., Any]
    arguments: tuple[int, ...]
    reach: int | None
    of_bars: bool = False
    output: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether it needs all of one symbol's bars."""
        return self.of_bars or self.reach is None or not self.arguments


@dataclass(frozen=True, slots=True)
class _Laid:
    """So many newest values of the step `at`, which are those of `source`: itself, or an indicator whose `output` it takes."""

    at: int
    source: int
    output: str | None
    count: int

    @property
    def take(self) -> Callable[[Any], Any]:
        count, output = self.count, self.output
        return (lambda series: tail(series, count)) if output is None else lambda outputs: output_of(outputs, output, count)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the newest values of many symbols are computed: the steps `alone` of each symbol by itself; what is `laid` out of them;
    then those `together`, of all symbols at once, each with how many newest values it is handed."""

    alone: tuple[int, ...]
    laid: tuple[_Laid, ...]
    together: tuple[tuple[int, int], ...]

    @property
    def depth(self) -> int:
        """Bars that are looked at beside the indicators."""
        return max((laid.count for laid in self.laid), default=1)


@dataclass(frozen=True, slots=True)
class Program:
    """`roots` are the steps whose series are wanted."""

    steps: tuple[_Step, ...]
    roots: tuple[int, ...]
    plan: _Plan

    def evaluate(self, bars: Bars, inputs: Sequence[Floats] = ()) -> list[_Series]:
        """The whole series of each root. `inputs`: the caller's choice for the source of a named expression."""
        done = list[Any]()
        with np.errstate(all="ignore"):
            for step in self.steps:
                given = [done[at] for at in step.arguments]
                done.append(step.run(bars, inputs, given) if step.of_bars else step.run(*given))
        return [done[at] for at in self.roots]

    def newest(self, many: Sequence[Bars]) -> list[list[Newest]]:
        """Of each root the last value that `evaluate` gives on each of the bars, to the last bit; None where there is none. There
        is a bar in each."""
        depth = self.plan.depth
        # rows that are laid out together are as long: those with fewer bars than are looked at only with their like
        alike: dict[int, list[int]] = {}
        for at, bars in enumerate(many):
            alike.setdefault(min(len(bars), depth), []).append(at)
        values = [list[Newest]([None] * len(many)) for _ in self.roots]
        rows = max(1, min(_MOST_ROWS, _MOST_CELLS // depth))
        parts = [places[first : first + rows] for places in alike.values() for first in range(0, len(places), rows)]
        with np.errstate(all="ignore"):
            for part in parts:
                for column, found in zip(values, self._of_alike([many[at] for at in part]), strict=True):
                    for at, value in zip(part, found, strict=True):
                        column[at] = value
        return values

    def _of_alike(self, many: Sequence[Bars]) -> list[list[Newest]]:
        done: list[Any] = [None] * len(self.steps)
        alone = [(at, step.run, step.of_bars, step.arguments) for at in self.plan.alone for step in [self.steps[at]]]
        sheets = [(laid.source, laid.take, list[Any]()) for laid in self.plan.laid]
        for bars in many:
            for at, run, of_bars, arguments in alone:
                given = [done[each] for each in arguments] if arguments else ()
                done[at] = run(bars, (), given) if of_bars else run(*given)
            for source, take, rows in sheets:
                rows.append(take(done[source]))
        for laid, (_, _, rows) in zip(self.plan.laid, sheets, strict=True):
            sheet = stacked(rows)
            done[laid.at] = sheet if laid.output is None else finite(sheet)
        for at, count in self.plan.together:
            done[at] = self.steps[at].run(*(newest(done[each], count) for each in self.steps[at].arguments))
        return [_values(done[at], len(many)) for at in self.roots]


def _values(series: _Series, count: int) -> list[Newest]:
    """The newest of each row, or of a constant as often."""
    if isinstance(series, Truths):
        pairs = zip(series.true[:, -1].tolist(), series.false[:, -1].tolist(), strict=True)
        return [True if true else False if false else None for true, false in pairs]
    if isinstance(series, Outputs):
        raise TypeError("several outputs have no one value")
    numbers = series[:, -1].tolist() if isinstance(series, np.ndarray) else [series] * count
    return [number if math.isfinite(number) else None for number in numbers]


def compiled(*roots: Node) -> Program:
    steps: list[_Step] = []
    known: dict[object, int] = {}
    places = tuple([_place(root, steps, known) for root in roots])
    return Program(tuple(steps), places, _plan(steps, places))


def _plan(steps: Sequence[_Step], roots: Sequence[int]) -> _Plan:
    """From the roots back: what each step is handed, and how much of it is therefore wanted of its arguments."""
    wanted = dict.fromkeys(roots, 1)  # newest values, by step
    whole = set[int]()
    together = dict[int, int]()
    for at in reversed(range(len(steps))):
        step = steps[at]
        if step.is_alone or at in whole:
            whole |= {at, *step.arguments}
        elif step.output is not None:
            whole |= {*step.arguments}
        else:
            together[at] = wanted[at] + (step.reach or 0)
            for argument in step.arguments:
                wanted[argument] = max(wanted.get(argument, 0), together[at])
    laid = [
        _Laid(at, at, None, count) if at in whole else _Laid(at, steps[at].arguments[0], steps[at].output, count)
        for at, count in wanted.items()
        if at not in together
    ]
    return _Plan(tuple(sorted(whole)), tuple(laid), tuple(sorted(together.items())))


def _place(node: Node, steps: list[_Step], known: dict[object, int]) -> int:
    """The step that gives the node's series; arguments come before what is made of them."""
    if (at := known.get(node)) is None:
        at = known[node] = _made(node, steps, known)
    return at


def _made(node: Node, steps: list[_Step], known: dict[object, int]) -> int:
    if isinstance(node, Call):
        return _called(node, steps, known)
    places = tuple([_place(part, steps, known) for part in parts_of(node)])
    reach, of_bars = 0, isinstance(node, Column | Source | Truth)
    if isinstance(node, BuiltIn):
        built_in = BUILT_INS[node.name]
        steps.append(_Step(_built_in(built_in, node.constants), places, built_in.reach(*node.constants), built_in.dated))
        return len(steps) - 1
    if isinstance(node, Lag):
        reach = node.bars
    steps.append(_Step(_run_of(node), places, reach, of_bars))
    return len(steps) - 1


def _run_of(node: Node) -> Callable[..., Any]:
    match node:
        case Number(value):
            return lambda: value
        case Truth(value):
            return lambda bars, *_: _everywhere(len(bars), true=value)
        case Column(name):
            return lambda bars, *_: column_of(bars, name)
        case Source():
            return lambda _, inputs, __: inputs[0]
        case Lag(_, bars):
            return lambda series: lagged(series, bars)
        case _:
            return _LOGIC[node.operator] if isinstance(node, Binary) else inverted


def _everywhere(count: int, *, true: bool) -> Truths:
    return Truths(np.full(count, true), np.full(count, not true))


def _built_in(signature: Signature, constants: tuple[Any, ...]) -> Callable[..., Any]:
    apply = signature.apply
    if signature.dated:
        return lambda bars, _, series: apply(bars, *series, *constants)
    return (lambda *series: apply(*series, *constants)) if constants else apply


def _called(node: Call, steps: list[_Step], known: dict[object, int]) -> int:
    """One step computes the indicator, whichever of its outputs are wanted, and one takes the output."""
    whole = ("call", node.indicator, node.inputs, node.values)
    if whole not in known:
        places = tuple([_place(series, steps, known) for series in node.inputs])
        computation = node.indicator.work.bound(node.named)
        steps.append(_Step(lambda bars, _, series: computation(bars, series), places, None, of_bars=True))
        known[whole] = len(steps) - 1
    if node.output is None:
        return known[whole]
    output = node.output
    steps.append(_Step(lambda outputs: finite(output_of(outputs, output)), (known[whole],), 0, output=output))
    return len(steps) - 1
