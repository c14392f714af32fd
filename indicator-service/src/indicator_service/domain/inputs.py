"""The series an indicator is computed on: a column of the bars, or one made of several."""

from collections.abc import Mapping, Sequence

from talib import _ta_lib

from indicator_service.domain.series import Bars, Floats

__all__ = ["SERIES_TYPES", "columns_of", "series_of"]

_DERIVED = {
    "hl2": (_ta_lib.MEDPRICE, ("high", "low")),
    "hlc3": (_ta_lib.TYPPRICE, ("high", "low", "close")),
    "hlcc4": (_ta_lib.WCLPRICE, ("high", "low", "close")),
    "ohlc4": (_ta_lib.AVGPRICE, ("open", "high", "low", "close")),
}
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("open", "high", "low", "close", "volume")},
    **{name: columns for name, (_, columns) in _DERIVED.items()},
}
SERIES_TYPES: tuple[str, ...] = tuple(_COLUMNS)


def columns_of(series_type: str) -> Sequence[str]:
    """The columns of the bars it needs."""
    return _COLUMNS[series_type]


def series_of(bars: Bars, series_type: str) -> Floats:
    """One value for each bar."""
    if series_type not in _DERIVED:
        column: Floats = getattr(bars, series_type)
        return column
    function, names = _DERIVED[series_type]
    derived: Floats = function(*(getattr(bars, name) for name in names))
    return derived
