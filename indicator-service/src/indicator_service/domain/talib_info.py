"""What TA-Lib says of its functions: inputs, parameters, defaults, bounds, outputs, look-back.

The Python package hands on everything of the C library's description but the bounds. Those are asked of the function itself: it
refuses what lies outside before it looks at a bar, so two bisections on one bar find each bound to the last bit. All of them
together take about 50 ms, once.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import talib
from talib import _ta_lib, abstract

__all__ = ["FUNCTIONS", "MA_TYPES", "FunctionInfo", "OptionInfo", "Value"]

Value = int | float | str
Number = int | float
_MOST = 4e37
"""Beyond TA-Lib's largest and smallest real bound, ±3e37."""

_KINDS: Mapping[int, Literal["float", "int", "choice"]] = {0: "float", 1: "choice", 2: "int", 3: "choice"}
"""`TA_OptInputParameterType`; the only lists there are name a moving average."""

MA_TYPES: Mapping[str, int] = {
    name.lower(): number
    for name, number in vars(type(talib.MA_Type)).items()
    # DEFAULT is what a function does where its type is left out, which a client does by leaving it out
    if isinstance(number, int) and name != "DEFAULT"
}
"""TA-Lib's moving averages by name; `disabled` averages nothing."""


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """A parameter: `minimum` and `maximum` are inclusive, absent for a choice, whose default is a number of MA_TYPES."""

    name: str
    hint: str
    kind: Literal["int", "float", "choice"]
    default: Number
    minimum: Number | None
    maximum: Number | None


@dataclass(frozen=True)
class FunctionInfo:
    """`inputs` in the order of the arguments: a column's name, or None for a series of the caller's choice. What TA-Lib takes for
    those, if it is not told, is in `series_defaults`."""

    name: str
    title: str
    group: str
    flags: Sequence[str]
    inputs: tuple[str | None, ...]
    series_defaults: tuple[str, ...]
    outputs: tuple[str, ...]
    call: Callable[..., Any]

    @cached_property
    def options(self) -> tuple[OptionInfo, ...]:
        described = [_ta_lib._ta_getOptInputParameterInfo(self.name.encode(), at) for at in range(self._count)]  # noqa: SLF001
        return tuple(self._option(described, at) for at in range(self._count))

    def lookback(self, values: Sequence[Number]) -> int:
        """Bars before the first value (TA-Lib's `TA_<NAME>_Lookback`); `values` in the order of the parameters."""
        function = abstract.Function(self.name)
        function.set_parameters({option.name: value for option, value in zip(self.options, values, strict=True)})
        return int(function.lookback)

    @property
    def _count(self) -> int:
        return int(_ta_lib._ta_getFuncInfo(self.name.encode())["num_opt_inputs"])  # noqa: SLF001

    def _option(self, described: Sequence[Mapping[str, Any]], at: int) -> OptionInfo:
        option = described[at]
        kind, default = _KINDS[option["type"]], option["default_value"]
        if kind == "choice":
            return OptionInfo(option["name"], option["help"], kind, default, None, None)

        def fits(value: Number) -> bool:
            # others of its kind move with it where they bound each other (MAVP's two periods)
            alone = [value if other is option else other["default_value"] for other in described]
            together = [value if other["type"] == option["type"] else other["default_value"] for other in described]
            return self._accepts(alone) or self._accepts(together)

        least, most = (-(2**30), 2**30) if kind == "int" else (-_MOST, _MOST)
        return OptionInfo(
            option["name"], option["help"], kind, default, _bound(fits, default, least), _bound(fits, default, most)
        )

    def _accepts(self, values: Sequence[Number]) -> bool:
        try:
            self.call(*[np.ones(1)] * len(self.inputs), *values)
        except Exception as error:
            if "TA_BAD_PARAM" not in str(error):
                raise
            return False
        return True


def _bound(fits: Callable[[Number], bool], inside: Number, outside: Number) -> Number:
    """The outermost number towards `outside` that fits. Doubles are bisected by their place among the doubles, not by value."""
    is_int = isinstance(inside, int)
    good, bad = (inside, outside) if is_int else (_place(inside), _place(outside))
    while abs(good - bad) > 1:
        middle = (good + bad) // 2
        if fits(middle if is_int else _double(int(middle))):
            good = middle
        else:
            bad = middle
    return good if is_int else _double(int(good))


def _place(number: float) -> int:
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _double(place: int) -> float:
    (number,) = struct.unpack("<d", struct.pack("<d", 0.0) if place == 0 else struct.pack("<q", abs(place)))
    return float(number) if place >= 0 else -float(number)


def _info(name: str) -> FunctionInfo:
    info = abstract.Function(name).info
    described = [_ta_lib._ta_getInputParameterInfo(name.encode(), at) for at in range(len(info["input_names"]))]  # noqa: SLF001
    inputs: list[str | None] = []
    for source in described:
        inputs += source["price_series"] or [None]
    return FunctionInfo(
        name=name,
        title=info["display_name"],
        group=info["group"],
        flags=tuple(info["function_flags"]),
        inputs=tuple(inputs),
        series_defaults=tuple(default for default in info["input_names"].values() if isinstance(default, str)),
        outputs=tuple(info["output_names"]),
        # the function itself: `talib.<NAME>` first looks whether it was given a frame of pandas or Polars
        call=getattr(_ta_lib, name),
    )


FUNCTIONS: Mapping[str, FunctionInfo] = {name: _info(name) for name in talib.get_functions()}
