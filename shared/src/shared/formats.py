"""One table, four formats: which one a client asked for, and its bytes.

`format=` decides where it is given, else `Accept` (RFC 9110, section 12.5.1). JSON holds the rows as objects inside a document of
the route's own; the others hold the table alone, and what the document says beside it travels in header fields.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from fastapi import Request
from pydantic import Field

from shared.accept import NotAcceptable
from shared.accept import negotiate as negotiated
from shared.links import next_link

__all__ = [
    "MEDIA_TYPES",
    "TABLE_CONTENT",
    "Format",
    "FormatChoice",
    "NotAcceptable",
    "json_rows",
    "negotiate",
    "next_link",
    "render",
    "requested_format",
    "table_of",
]

Format = Literal["json", "csv", "arrow", "parquet"]
FormatChoice = Annotated[Format | None, Field(description="how the answer is written; goes before `Accept`")]
"""For a query model: a 422 names the field when it is none of the four."""

MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",  # RFC 4180, section 3
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
"""In the order of preference between formats a client likes equally."""

TABLE_CONTENT: dict[str, Any] = {
    MEDIA_TYPES["csv"].partition(";")[0]: {"schema": {"type": "string"}},
    MEDIA_TYPES["arrow"]: {"schema": {"type": "string", "format": "binary"}},
    MEDIA_TYPES["parquet"]: {"schema": {"type": "string", "format": "binary"}},
}
"""What a route's `responses[200]["content"]` says besides JSON."""


def requested_format(request: Request, chosen: Format | None) -> Format:
    """The format to answer in; NotAcceptable when `Accept` leaves none."""
    return chosen or negotiate(", ".join(request.headers.getlist("accept")))


def negotiate(accept: str) -> Format:
    """As `shared.accept.negotiate`, of the four."""
    return cast("Format", negotiated(accept, tuple(MEDIA_TYPES.items())))


def table_of(columns: Mapping[str, pl.Series | npt.NDArray[Any] | Sequence[Any]]) -> pl.DataFrame:
    """Columns of one length in their order. NaN and infinities are missing values: JSON has no numbers for them (RFC 8259, 6)."""
    return pl.DataFrame([_series(name, column) for name, column in columns.items()])


def _series(name: str, column: pl.Series | npt.NDArray[Any] | Sequence[Any]) -> pl.Series:
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            return pl.Series(name, np.where(np.isfinite(column), column, np.nan), nan_to_null=True)
        return pl.Series(name, column)
    series = pl.Series(name, column)
    return series.set(~series.is_finite(), None) if series.dtype.is_float() else series


def json_rows(table: pl.DataFrame) -> orjson.Fragment:
    """The rows as an array of objects, to be put in a document that orjson writes; the same bytes as of a dict for each row."""
    return orjson.Fragment(_written(_with_text(table).write_json))


def render(table: pl.DataFrame, written: Literal["csv", "arrow", "parquet"]) -> bytes:
    """The same values to the last bit in each; a missing one is null, or empty."""
    if written == "csv":
        return _written(_with_text(table).write_csv, line_terminator="\r\n")  # RFC 4180, section 2
    if written == "arrow":
        # without Polars' view types, which readers older than Arrow 15 do not know
        return _written(table.write_ipc_stream, compat_level=pl.CompatLevel.oldest())
    return _written(table.write_parquet)


def _with_text(table: pl.DataFrame) -> pl.DataFrame:
    """Moments as ISO 8601 with their offset from UTC; days are so already."""
    return table.with_columns(pl.selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%:z"))


def _written(write: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, **options)
    return buffer.getvalue()
