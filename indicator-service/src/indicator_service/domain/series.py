"""One symbol's bars as columns."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shared.local_time import zoned

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
    zone: str | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.date)

    @cached_property
    def iso_dates(self) -> list[str]:
        if self.zone is None:
            return list(np.datetime_as_string(self.date))
        return zoned(self.date, self.zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list()

    @cached_property
    def date_cells(self) -> npt.NDArray[np.void]:
        """The ISO dates as text for answers, each as long as the others."""
        dates = self.iso_dates
        return np.frombuffer("".join(dates).encode("ascii"), f"V{len(dates[0]) if dates else 1}")

    @property
    def nbytes(self) -> int:
        """Of the columns, and of the dates that are kept as text beside them."""
        return 6 * self.close.nbytes + 90 * len(self)
