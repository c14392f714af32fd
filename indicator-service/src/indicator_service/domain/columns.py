"""The columns of the bars, and those made of several."""

from collections.abc import Mapping

import numpy as np
from talib import _ta_lib

from indicator_service.domain.series import Bars, Floats

__all__ = ["COLUMNS", "column_of"]

_DERIVED = {
    "hl2": (_ta_lib.MEDPRICE, ("high", "low")),
    "hlc3": (_ta_lib.TYPPRICE, ("high", "low", "close")),
    "hlcc4": (_ta_lib.WCLPRICE, ("high", "low", "close")),
    "ohlc4": (_ta_lib.AVGPRICE, ("open", "high", "low", "close")),
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("open", "high", "low", "close", "volume")},
    **{name: columns for name, (_, columns) in _DERIVED.items()},
}
"""Each with the columns of the bars that it needs."""


def column_of(bars: Bars, name: str) -> Floats:
    """One value for each bar; NaN where it is too large for one, as in expressions."""
    if name not in _DERIVED:
        column: Floats = getattr(bars, name)
        return column
    function, names = _DERIVED[name]
    derived: Floats = function(*(getattr(bars, each) for each in names))
    derived[np.isinf(derived)] = np.nan
    return derived
