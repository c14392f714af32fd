"""What TA-Lib itself says, and what an answer says in each format: columns to be compared bit by bit."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl
import talib

from indicator_service.domain.catalogue import TALIB
from indicator_service.domain.indicator import Indicator
from indicator_service.domain.request import Parameters
from indicator_service.domain.series import Bars
from tests.indicator.samples import Array, any_parameters, defaults, seeded, ta_lib, ta_lib_lookback
from tests.support.sample import SYMBOLS

FORMATS = ("json", "csv", "arrow", "parquet")
GROUPS: Mapping[str, Sequence[Indicator]] = {
    group: [TALIB[name.lower()] for name in names] for group, names in talib.get_function_groups().items()
}


@dataclass(frozen=True, eq=False)
class Column:
    """A value for each row, NaN where there is none; whether they are told as whole numbers."""

    values: Array
    whole: bool


@dataclass(frozen=True, eq=False)
class Rows:
    dates: Sequence[str]
    columns: Mapping[str, Column]

    def check(self, expected: "Rows", *, as_floats: bool = False) -> None:
        """The same rows and columns in the same order, every value to the last bit, none in the same places."""
        assert self.dates == expected.dates
        assert list(self.columns) == list(expected.columns)
        for name, want in expected.columns.items():
            got = self.columns[name]
            if got.values.tobytes() != want.values.tobytes():
                at = int(np.flatnonzero(got.values.view(np.int64) != want.values.view(np.int64))[0])
                raise AssertionError(f"{name} of {self.dates[at]}: {got.values[at]!r}, not {want.values[at]!r}")
            assert got.whole == (want.whole and not as_floats), f"{name}: whole numbers stay whole"


def parameter_sets(indicator: Indicator) -> list[Parameters]:
    """The defaults, and three random sets of parameters and series; fewer where there are not as many."""
    random_ = seeded(indicator.name)
    sets = [defaults(indicator), *(any_parameters(indicator, random_) for _ in range(3))]
    return list({str(parameters.shown): parameters for parameters in sets}.values())


def called(parameters: Parameters) -> str:
    """As an expression."""
    texts = {parameter.name for parameter in parameters.indicator.parameters if parameter.type == "date"}
    values = (f'{name}="{value}"' if name in texts else f"{name}={value}" for name, value in parameters.values.items())
    return f"{parameters.indicator.name}({', '.join((*parameters.series, *values))})"


def symbol_of(indicator: Indicator, at: int) -> str:
    """Of the set at that place, where one symbol has to do: another for each, all of them in turn."""
    return SYMBOLS[(list(TALIB).index(indicator.name) + at) % len(SYMBOLS)]


def expected_of(parameters: Parameters, bars: Bars) -> Rows:
    lookback = ta_lib_lookback(parameters)
    columns = zip(parameters.indicator.outputs, ta_lib(parameters, bars), strict=True)
    return Rows(bars.iso_dates, {name: _expected(column, lookback) for name, column in columns})


def _expected(column: Array, lookback: int) -> Column:
    whole = column.dtype.kind == "i"
    values = column.astype(np.float64)
    missing = np.arange(len(values)) < lookback if whole else ~np.isfinite(values)
    return Column(np.where(missing, np.nan, values), whole and lookback < len(values))


def read(answer: bytes, written: str) -> Rows:
    """The rows of an answer of one indicator."""
    if written == "json":
        rows = orjson.loads(answer)["data"]
        names = [name for name in rows[0] if name != "date"]
        return Rows([row["date"] for row in rows], {name: of_list([row[name] for row in rows]) for name in names})
    dates, *columns = table_of(answer, written).get_columns()
    assert dates.name == "date"
    return Rows(dates.cast(pl.String).to_list(), {column.name: of_series(column) for column in columns})


def table_of(answer: bytes, written: str, types: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """CSV has no types: those that are not given are what all of its cells look like."""
    if written == "csv":
        return pl.read_csv(answer, try_parse_dates=True, schema_overrides=types, infer_schema_length=0 if types else None)
    return pl.read_ipc_stream(answer) if written == "arrow" else pl.read_parquet(io.BytesIO(answer))


def of_list(values: list[Any]) -> Column:
    """Of JSON, which has neither NaN nor infinities."""
    kinds = set(map(type, values)) - {type(None)}
    assert len(kinds) <= 1
    assert kinds <= {int, float, bool}
    return Column(np.array(values, dtype=np.float64), int in kinds)  # None becomes NaN


def of_series(series: pl.Series) -> Column:
    assert not series.dtype.is_float() or not series.is_nan().any(), "a missing value is null and no NaN"
    whole = series.dtype.is_integer() and series.null_count() < len(series)
    return Column(series.cast(pl.Float64).fill_null(np.nan).to_numpy(), whole)
