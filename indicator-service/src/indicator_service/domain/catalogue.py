"""The catalogue: TA-Lib's own description of each function, and `overlay.toml` for what that lacks."""

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from indicator_service.domain.errors import UnknownIndicator
from indicator_service.domain.talib_info import FUNCTIONS, MA_TYPES, FunctionInfo, OptionInfo, Value
from indicator_service.domain.warmup import bars_to_forget
from shared.limits.plans import Feature

__all__ = ["CATALOGUE", "SERIES_PARAMETERS", "Indicator", "Order", "Parameter", "Value", "find"]

SERIES_PARAMETERS = ("series_type", "series_type_2")
"""What a client calls the inputs of its choice."""

_OVERLAY: Mapping[str, Any] = tomllib.loads(resources.files(__package__).joinpath("overlay.toml").read_text(encoding="utf-8"))
_NO_COLUMN = {"periods": "close"}
"""What TA-Lib takes from a column that bars do not have: MAVP's second series."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Bounds are inclusive, those of a choice absent. `description` is TA-Lib's hint."""

    name: str
    type: Literal["int", "float", "choice"]
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


@dataclass(frozen=True, eq=False, slots=True)
class Indicator:
    """One function. `inputs` are the columns it takes, in order; None for one of the caller's choice, which begins as
    `series_defaults` say. `recursive`: a value depends on more than the bars of its look-back.
    """

    name: str
    function: str
    call: Callable[..., Any]
    title: str
    type: Literal["indicator", "pattern"]
    group: str
    aliases: tuple[str, ...]
    inputs: tuple[str | None, ...]
    series_defaults: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    ordered: tuple[Order, ...]
    memory: tuple[str, ...]
    formula: str
    reference: str

    @property
    def defaults(self) -> dict[str, Value]:
        return {parameter.name: parameter.default for parameter in self.parameters}

    @property
    def recursive(self) -> bool:
        return bool(self.memory)

    @property
    def feature(self) -> Feature | None:
        """What of a plan it needs beside its name."""
        return "patterns" if self.type == "pattern" else None

    @property
    def series_parameters(self) -> tuple[str, ...]:
        return SERIES_PARAMETERS[: len(self.series_defaults)]

    def arguments(self, values: Mapping[str, Value]) -> list[int | float]:
        """The values as TA-Lib takes them, in its order."""
        return [MA_TYPES[value] if isinstance(value, str) else value for value in (values[p.name] for p in self.parameters)]

    def lookback(self, values: Mapping[str, Value]) -> int:
        """Bars before the first value."""
        return _lookback(self.function, tuple(self.arguments(values)))

    def warmup(self, values: Mapping[str, Value]) -> int | None:
        """Bars before a value after which it no longer depends on where the input began; None when it always does."""
        return _warmup(self, tuple(values[parameter.name] for parameter in self.parameters))


# both are asked for at every request, mostly with the values of the one before, and take longer than computing does
@lru_cache(4096)
def _lookback(function: str, arguments: tuple[int | float, ...]) -> int:
    return FUNCTIONS[function].lookback(arguments)


@lru_cache(4096)
def _warmup(indicator: Indicator, values: tuple[Value, ...]) -> int | None:
    named = dict(zip((parameter.name for parameter in indicator.parameters), values, strict=True))
    forgets = bars_to_forget(indicator.memory, named)
    return None if forgets is None else indicator.lookback(named) + forgets


def _parameter(option: OptionInfo) -> Parameter:
    name = _OVERLAY["parameters"].get(option.name, option.name)
    aliases = tuple(_OVERLAY["parameter_aliases"].get(name, ()))
    if option.kind == "choice":
        default = next(ma_type for ma_type, number in MA_TYPES.items() if number == option.default)
        return Parameter(name, "choice", default, None, None, tuple(MA_TYPES), aliases, option.hint)
    minimum, maximum = _OVERLAY["bounds"].get(name, (option.minimum, option.maximum))
    return Parameter(name, option.kind, option.default, minimum, maximum, (), aliases, option.hint)


def _entry(info: FunctionInfo, overlay: Mapping[str, Any]) -> Indicator:
    title = info.title
    source = _OVERLAY["sources"].get(overlay.get("source"), overlay.get("source"))
    return Indicator(
        name=info.name.lower(),
        function=info.name,
        call=info.call,
        title=title,
        type="pattern" if "Output is a candlestick" in info.flags else "indicator",
        group=info.group,
        aliases=tuple(overlay.get("aliases", ())),
        inputs=info.inputs,
        series_defaults=tuple(_NO_COLUMN.get(default, default) for default in info.series_defaults),
        outputs=tuple(overlay.get("outputs", ("value",))),
        parameters=tuple(_parameter(option) for option in info.options),
        ordered=tuple(Order(first, second, how == "below") for first, second, how in overlay.get("ordered", ())),
        memory=tuple(overlay.get("memory", ())),
        formula=overlay["formula"],
        reference=f"{source}; TA-Lib TA_{info.name}" if source else f"TA-Lib TA_{info.name}",
    )


CATALOGUE: Mapping[str, Indicator] = {
    name.lower(): _entry(info, _OVERLAY["functions"][name]) for name, info in sorted(FUNCTIONS.items())
}
_BY_ANY_NAME: Mapping[str, Indicator] = {name: entry for entry in CATALOGUE.values() for name in (entry.name, *entry.aliases)}


def find(name: str) -> Indicator:
    """By name or alias, in any case; `UnknownIndicator`."""
    wanted = name.lower()
    if (entry := _BY_ANY_NAME.get(wanted)) is None:
        raise UnknownIndicator(name[:64], similar(wanted))
    return entry


def similar(name: str) -> Sequence[str]:
    return difflib.get_close_matches(name[:64], _BY_ANY_NAME, n=3)
