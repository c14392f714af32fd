"""A tree as steps that can be run on any bars: compiled once, each equal sub-tree one step.

It runs in two ways. On everything, each step gives whole series. For the newest values alone, each step is handed only as much as
what comes after it looks back on, so that beside the indicators themselves, which are always computed on the whole history,
nearly nothing is left to do.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
)
from indicator_service.domain.expressions.builtins import BUILT_INS, Signature
from indicator_service.domain.expressions.tree import Binary, BuiltIn, Call, Column, Lag, Node, Number, Source, Truth, parts_of
from indicator_service.domain.outputs import Outputs, Truths
from indicator_service.domain.series import Bars, Floats

__all__ = ["Program", "compiled"]

_Series = Numbers | Truths | Outputs
_LOGIC: Mapping[str, Callable[..., Any]] = {**ARITHMETIC, **COMPARISONS, "and": both, "or": either}


@dataclass(frozen=True, slots=True)
class _Frame:
    bars: Bars
    inputs: Sequence[Floats]


@dataclass(frozen=True, slots=True)
class _Step:
    """`run` takes the frame, if `framed`, and what the steps `arguments` gave. `reach`: how many bars before its own it looks at,
    None all. One that takes an output of an indicator is given that whole: `picks` is how it runs for so many newest values."""

    run: Callable[..., Any]
    arguments: tuple[int, ...]
    reach: int | None
    framed: bool
    picks: Callable[[int | None], Callable[[Outputs], Any]] | None = None


_Cuts = tuple[tuple[int, int | None], ...]
"""For each argument its step, and how many of its newest values are handed on; None: all that it gave."""
_Tail = tuple[Callable[..., Any], bool, _Cuts]
"""A step for the newest values alone: what runs, whether it takes the frame, and on what."""


@dataclass(frozen=True, slots=True)
class Program:
    """`roots` are the steps whose series are wanted; `tails` is for the newest value of each."""

    steps: tuple[_Step, ...]
    roots: tuple[int, ...]
    tails: tuple[_Tail, ...]

    def evaluate(self, bars: Bars, inputs: Sequence[Floats] = ()) -> list[_Series]:
        """The whole series of each root. `inputs`: the caller's choice for the source of a named expression."""
        frame, done = _Frame(bars, inputs), list[Any]()
        with np.errstate(all="ignore"):
            for step in self.steps:
                given = [done[at] for at in step.arguments]
                done.append(step.run(frame, *given) if step.framed else step.run(*given))
        return [done[at] for at in self.roots]

    def newest(self, bars: Bars) -> list[float | bool | None]:
        """The last value of each that `evaluate` gives, to the last bit; None where there is none."""
        frame, done = _Frame(bars, ()), list[Any]()
        with np.errstate(all="ignore"):
            for run, framed, cuts in self.tails:
                given = [done[at] if count is None else newest(done[at], count) for at, count in cuts]
                done.append(run(frame, *given) if framed else run(*given))
        return [_value(done[at]) for at in self.roots]


def _value(series: _Series) -> float | bool | None:
    if isinstance(series, Truths):
        return True if series.true[-1] else False if series.false[-1] else None
    if isinstance(series, Outputs):
        raise TypeError("several outputs have no one value")
    number = float(series[-1] if isinstance(series, np.ndarray) else series)
    return number if math.isfinite(number) else None


def compiled(*roots: Node) -> Program:
    steps: list[_Step] = []
    known: dict[object, int] = {}
    places = tuple([_place(root, steps, known) for root in roots])
    return Program(tuple(steps), places, tuple(_tails(steps)))


def _tails(steps: Sequence[_Step]) -> list[_Tail]:
    wanted: list[int | None] = [1] * len(steps)
    taken: list[int | None] = [1] * len(steps)
    for at in reversed(range(len(steps))):
        step, own = steps[at], wanted[at]
        now = taken[at] = None if own is None or step.reach is None else own + step.reach
        for argument in step.arguments:
            before = wanted[argument]
            wanted[argument] = None if before is None or now is None else max(before, now)
    # a step gives as much as it is handed; one without arguments, or that is handed everything, gives everything
    given = [count if step.arguments else None for step, count in zip(steps, taken, strict=True)]
    tails: list[_Tail] = []
    for step, count in zip(steps, taken, strict=True):
        if step.picks is not None:
            tails.append((step.picks(count), False, ((step.arguments[0], None),)))
            continue
        enough = [count is None or given[argument] == count for argument in step.arguments]
        cuts = tuple((argument, None if whole else count) for argument, whole in zip(step.arguments, enough, strict=True))
        tails.append((step.run, step.framed, cuts))
    return tails


def _place(node: Node, steps: list[_Step], known: dict[object, int]) -> int:
    """The step that gives the node's series; arguments come before what is made of them."""
    if (at := known.get(node)) is None:
        at = known[node] = _made(node, steps, known)
    return at


def _made(node: Node, steps: list[_Step], known: dict[object, int]) -> int:
    if isinstance(node, Call):
        return _called(node, steps, known)
    places = tuple([_place(part, steps, known) for part in parts_of(node)])
    reach, framed = 0, isinstance(node, Column | Source | Truth)
    if isinstance(node, BuiltIn):
        built_in = BUILT_INS[node.name]
        steps.append(_Step(_built_in(built_in, node.constants), places, built_in.reach(*node.constants), built_in.dated))
        return len(steps) - 1
    if isinstance(node, Lag):
        reach = node.bars
    steps.append(_Step(_run_of(node), places, reach, framed))
    return len(steps) - 1


def _run_of(node: Node) -> Callable[..., Any]:
    match node:
        case Number(value):
            return lambda: value
        case Truth(value):
            return lambda frame: _everywhere(len(frame.bars), true=value)
        case Column(name):
            return lambda frame: column_of(frame.bars, name)
        case Source():
            return lambda frame: frame.inputs[0]
        case Lag(_, bars):
            return lambda series: lagged(series, bars)
        case _:
            return _LOGIC[node.operator] if isinstance(node, Binary) else inverted


def _everywhere(count: int, *, true: bool) -> Truths:
    return Truths(np.full(count, true), np.full(count, not true))


def _built_in(signature: Signature, constants: tuple[Any, ...]) -> Callable[..., Any]:
    apply = signature.apply
    if signature.dated:
        return lambda frame, *series: apply(frame.bars, *series, *constants)
    return (lambda *series: apply(*series, *constants)) if constants else apply


def _called(node: Call, steps: list[_Step], known: dict[object, int]) -> int:
    """One step computes the indicator, whichever of its outputs are wanted, and one takes the output."""
    whole = ("call", node.indicator, node.inputs, node.values)
    if whole not in known:
        places = tuple([_place(series, steps, known) for series in node.inputs])
        computation = node.indicator.work.bound(node.named)
        steps.append(_Step(lambda frame, *series: computation(frame.bars, series), places, None, framed=True))
        known[whole] = len(steps) - 1
    if node.output is None:
        return known[whole]
    picks = partial(_picked, node.output)
    steps.append(_Step(picks(None), (known[whole],), 0, framed=False, picks=picks))
    return len(steps) - 1


def _picked(name: str, count: int | None) -> Callable[[Outputs], Any]:
    """An output's newest values, or all of them."""
    rows = slice(None if count is None else -count, None)

    def output(outputs: Outputs) -> Any:
        column: Any = outputs.columns[name]
        if column.dtype.kind == "f":
            return finite(column[rows])
        if column.dtype.kind == "b":
            return Truths.of(column[rows], outputs.unknown[name][rows])
        numbers = column.astype(np.float64)
        numbers[: outputs.begin] = np.nan
        return numbers[rows]

    return output
