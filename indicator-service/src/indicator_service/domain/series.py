"""One symbol's bars as columns."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Bars", "Floats"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bars:
    """`date` datetime64[D], or for bars of less than a day datetime64[s] in UTC, with the time zone of the exchange; ascending.
    The others float64; all of one length and C-contiguous, as TA-Lib wants them."""

    symbol: str
    data_version: str
    date: npt.NDArray[np.datetime64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    zone: str | None = None

    def __len__(self) -> int:
        return len(self.date)

    @cached_property
    def iso_dates(self) -> list[str]:
        if self.zone is None:
            return list(np.datetime_as_string(self.date))
        return zoned(self.date, self.zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list()

    @cached_property
    def row_heads(self) -> list[bytes]:
        """The end of the row before and each row's beginning, as JSON."""
        return [b'},{"date":"%b"' % date.encode("ascii") for date in self.iso_dates]

    @cached_property
    def value_heads(self) -> list[bytes]:
        """The same up to the value of the most common rows, those of one output."""
        return [head + b',"value":' for head in self.row_heads]

    @property
    def nbytes(self) -> int:
        """Of the columns, and of the dates that are kept as text beside them."""
        return 6 * self.close.nbytes + 220 * len(self)
