"""One table, four formats: which one a client asked for, and its bytes.

`format=` decides where it is given, else `Accept` (RFC 9110, section 12.5.1). JSON holds the rows as objects inside a document of
the route's own; the others hold the table alone, and what the document says beside it travels in header fields.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from fastapi import Request
from pydantic import Field
from starlette.datastructures import QueryParams

from shared.errors import KalpiError

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

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MEMBER = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PART = re.compile(rf'(?:[^;"]|{_QUOTED})+')
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")  # RFC 9110, section 12.4.2


class NotAcceptable(KalpiError):
    status = 406
    slug = "not-acceptable"
    title = "Not acceptable"

    def __init__(self) -> None:
        super().__init__(f"there is {', '.join(MEDIA_TYPES.values())}")


class _Range(NamedTuple):
    """A media range and how much the client likes it."""

    type: str
    subtype: str
    parameters: Mapping[str, str]
    weight: float


def requested_format(request: Request, chosen: Format | None) -> Format:
    """The format to answer in; NotAcceptable when `Accept` leaves none."""
    return chosen or negotiate(", ".join(request.headers.getlist("accept")))


@lru_cache(256)
def negotiate(accept: str) -> Format:
    """Of the formats, the one the client weighs highest; between equals the one named most exactly, then by our preference.

    A format's weight is that of the most specific range it lies in; 0 is "not this". An absent or empty field accepts all.
    """
    if not accept.strip():
        return "json"
    ranges = list(_ranges(accept))
    liked = [(max((match for media in ranges if (match := _match(media, name))), default=(0, 0.0)), name) for name in MEDIA_TYPES]
    (specificity, weight), best = max(liked, key=lambda entry: (entry[0][1], entry[0][0]))
    if not (specificity and weight):
        raise NotAcceptable
    return best


def _ranges(accept: str) -> Iterator[_Range]:
    """Members that are no media range, or weigh no weight, say nothing: they are passed over."""
    for member in _MEMBER.findall(accept):
        media, *rest = [part.strip() for part in _PART.findall(member)] or [""]
        type_, slash, subtype = media.lower().partition("/")
        pairs = (parameter.partition("=") for parameter in rest)
        parameters = {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}
        weight = parameters.pop("q", "1")
        if slash and type_ and subtype and (type_ != "*" or subtype == "*") and _WEIGHT.fullmatch(weight):
            yield _Range(type_, subtype, parameters, float(weight))


def _match(media: _Range, name: Format) -> tuple[int, float] | None:
    """How specific the range is of this format, with its weight; None when the format does not lie in it."""
    own, *rest = MEDIA_TYPES[name].split("; ")
    # whatever is text is UTF-8, also where its media type has no parameter to say so (RFC 8259, section 11)
    told = {"charset": "utf-8", **dict(parameter.split("=") for parameter in rest)}
    type_, _, subtype = own.partition("/")
    if media.type not in {type_, "*"} or media.subtype not in {subtype, "*"} or not media.parameters.items() <= told.items():
        return None
    return 1 + (media.type != "*") + (media.subtype != "*") + len(media.parameters), media.weight


def next_link(request: Request, cursor: str | None, written: Format) -> dict[str, str]:
    """`Link` to the page after this one (RFC 8288, section 3), in this page's format whatever `Accept` it is fetched with."""
    if cursor is None:
        return {}
    target = _first_page(request.scope["path"], request.scope["query_string"], written)
    return {"Link": f'<{target}&cursor={cursor}>; rel="next"'}  # base64url: it stands in a query as it is


@lru_cache(256)
def _first_page(path: str, query: bytes, written: Format) -> str:
    """What was asked, in a format and from the beginning."""
    asked = [(name, value) for name, value in QueryParams(query).multi_items() if name not in {"cursor", "format"}]
    return f"{quote(path)}?{urlencode([*asked, ('format', written)])}"


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
