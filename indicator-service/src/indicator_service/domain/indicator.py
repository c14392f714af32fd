"""What an indicator is, whoever computes it: a function of TA-Lib, or a named expression."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from indicator_service.domain.outputs import Outputs
from indicator_service.domain.series import Bars, Floats
from indicator_service.domain.talib_info import Value
from shared.limits.plans import Feature

__all__ = ["SERIES_PARAMETERS", "Computation", "Functions", "Indicator", "Order", "Parameter", "Value", "Work"]

SERIES_PARAMETERS = ("series_type", "series_type_2")
"""What a client calls the inputs of its choice."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Bounds are inclusive, absent where it is no number. A series is one of its `choices` or an expression of numbers.
    `description` is TA-Lib's hint."""

    name: str
    type: Literal["int", "float", "choice", "date", "series"]
    default: Value
    minimum: int | float | None
    maximum: int | float | None
    choices: tuple[str, ...]
    aliases: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Order:
    """Two parameters of which TA-Lib wants the first below the second (or not above it): it would swap them without a word."""

    first: str
    second: str
    strictly: bool


Computation = Callable[[Bars, Sequence[Floats]], Outputs]
"""Over all of the bars; the second are the series of the free inputs. Where one has no number, what follows is computed as if it
began there."""


class Work(Protocol):
    """How an indicator is computed. `values` are by the names of its parameters, each within its bounds."""

    @property
    def recursive(self) -> bool:
        """Whether a value depends on more than the bars of its look-back."""
        ...

    def lookback(self, values: Mapping[str, Value]) -> int:
        """Bars before the first value."""
        ...

    def warmup(self, values: Mapping[str, Value]) -> int | None:
        """Bars before a value after which it no longer depends on where the input began; None when it always does."""
        ...

    def cost(self, values: Mapping[str, Value]) -> float:
        """About how many nanoseconds a bar it takes, at most."""
        ...

    def bound(self, values: Mapping[str, Value]) -> Computation:
        """What it computes with these values, on any bars."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Indicator:
    """`inputs` are the columns it takes, in order; None for one of the caller's choice, which begins as `series_defaults` say.
    `truths` are the outputs that are true or false; the others are numbers. Of a user's own, `edition` tells one definition from
    another of the same name, and `uses` are the indicators it is made of."""

    name: str
    title: str
    type: Literal["indicator", "pattern", "custom"]
    group: str
    aliases: tuple[str, ...]
    inputs: tuple[str | None, ...]
    series_defaults: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    ordered: tuple[Order, ...]
    formula: str
    reference: str
    work: Work
    truths: tuple[str, ...] = ()
    neutral: bool = False
    """Of a pattern: its sign is no direction."""
    edition: str = ""
    uses: "tuple[Indicator, ...]" = ()

    @property
    def defaults(self) -> dict[str, Value]:
        return {parameter.name: parameter.default for parameter in self.parameters}

    @property
    def recursive(self) -> bool:
        return self.work.recursive

    @property
    def feature(self) -> Feature | None:
        """What of a plan it needs beside its name."""
        return "patterns" if self.type == "pattern" else "custom_indicators" if self.type == "custom" else None

    @property
    def series_parameters(self) -> tuple[str, ...]:
        return SERIES_PARAMETERS[: len(self.series_defaults)]

    def lookback(self, values: Mapping[str, Value]) -> int:
        return self.work.lookback(values)

    def warmup(self, values: Mapping[str, Value]) -> int | None:
        return self.work.warmup(values)


Functions = Mapping[str, Indicator]
"""What an expression may call, by every name and alias."""
