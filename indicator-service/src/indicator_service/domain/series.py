"""One symbol's bars as columns, and an indicator computed over all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import talib

from indicator_service.domain.catalogue import Indicator, Value
from shared.local_time import zoned

__all__ = ["Bars", "Floats", "SeriesType", "compute"]

Floats = npt.NDArray[np.float64]
SeriesType = Literal["open", "high", "low", "close", "volume"]


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

    @property
    def nbytes(self) -> int:
        """Of the columns, and of the ISO dates kept beside them."""
        return 6 * self.close.nbytes + 60 * len(self)


def compute(indicator: Indicator, bars: Bars, series_type: SeriesType, values: Mapping[str, Value]) -> dict[str, Floats]:
    """Each output over every bar, NaN where it has none yet. Always the whole history: a value does not depend on the range."""
    function = getattr(talib, indicator.function)
    series = getattr(bars, series_type)
    computed = function(series, **{parameter.source: values[parameter.name] for parameter in indicator.parameters})
    return dict(zip(indicator.outputs, computed if isinstance(computed, tuple) else (computed,), strict=True))
