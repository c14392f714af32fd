"""An indicator computed over all of the bars: TA-Lib itself, on arrays that are already as it wants them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from indicator_service.domain.catalogue import Indicator
from indicator_service.domain.series import Bars, Floats
from indicator_service.domain.talib_info import Value

__all__ = ["Column", "Outputs", "compute", "takes_long"]

Column = npt.NDArray[np.float64] | npt.NDArray[np.int32]
_LONG = 3_000_000
"""Bars × look-back of a call that may take longer than a few milliseconds: the slowest functions (IMI, CCI, AVGDEV) look at the
whole window for each bar, at 1 to 3 ns."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Each output over every bar. Rows before `begin` have no value: NaN in floats, and what TA-Lib calls 0 in integers. Floats
    may be NaN or infinite later too, where the function is not defined."""

    columns: Mapping[str, Column]
    begin: int


def compute(indicator: Indicator, bars: Bars, inputs: Sequence[Floats], values: Mapping[str, Value]) -> Outputs:
    """`inputs` are the series for the indicator's free inputs, one value for each bar; `values` within the catalogue's bounds.

    Always over the whole history: a value does not depend on the range that was asked for.
    """
    free = iter(inputs)
    arguments = [next(free) if column is None else getattr(bars, column) for column in indicator.inputs]
    computed = indicator.call(*arguments, *indicator.arguments(values))
    columns = computed if isinstance(computed, tuple) else (computed,)
    return Outputs(dict(zip(indicator.outputs, columns, strict=True)), indicator.lookback(values))


def takes_long(indicator: Indicator, bars: Bars, values: Mapping[str, Value]) -> bool:
    """Whether to compute on a thread: TA-Lib lets go of the interpreter, so that others are answered meanwhile."""
    return len(bars) * indicator.lookback(values) > _LONG
