"""What a computation gives: a column for each output, a value for each bar."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "Column", "Outputs", "Truths"]

Bits = npt.NDArray[np.bool_]


@dataclass(eq=False, slots=True)
class Truths:
    """True, false or unknown at each bar: `true` and `false` are never both set, and neither is where nobody can say.

    Never changed; not frozen, for one is made at every step of an expression and that would double what it takes.
    """

    true: Bits
    false: Bits

    def __len__(self) -> int:
        return len(self.true)

    @classmethod
    def of(cls, true: Bits, unknown: Bits) -> "Truths":
        return cls(true, ~(true | unknown))

    @property
    def unknown(self) -> Bits:
        return ~(self.true | self.false)


Column = npt.NDArray[np.float64] | npt.NDArray[np.int32] | Bits


@dataclass(eq=False, slots=True)
class Outputs:
    """Each output over every bar. Rows before `begin` have no value: NaN in floats, and what TA-Lib calls 0 in integers. Floats
    may be NaN or infinite later too, where the function is not defined. For each output that is true or false `unknown` says
    where it is neither. `whole` are the outputs of integers that are floats here, for some are missing later too. Never changed,
    as truths are not."""

    columns: Mapping[str, Column]
    begin: int
    unknown: Mapping[str, Bits] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
