"""Rows as JSON inside a document, or alone as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import Request, Response
from pydantic import Field

from shared.accept import negotiate
from shared.links import next_link

__all__ = ["TABLE", "FormatChoice", "written"]

_OFFERED = (("json", "application/json"), ("csv", "text/csv; charset=utf-8; header=present"))  # RFC 4180, section 3
FormatChoice = Annotated[Literal["json", "csv"] | None, Field(description="how the answer is written; goes before `Accept`")]
TABLE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
"""What a route's `responses` say besides JSON."""


def written(
    request: Request,
    chosen: Literal["json", "csv"] | None,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    cursor: str | None = None,
    **document: Any,
) -> Response:
    """`document` is what JSON says beside the rows, which are its `data`. NotAcceptable when `Accept` leaves neither."""
    name = chosen or negotiate(", ".join(request.headers.getlist("accept")), _OFFERED)
    media_type = dict(_OFFERED)[name]
    if name == "json":
        data = [{column: row[column] for column in columns} for row in rows]
        return Response(orjson.dumps({**document, "data": data}, default=str), media_type=media_type)
    text = io.StringIO()
    writer = csv.writer(text)  # CRLF, as RFC 4180, section 2, has it
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return Response(text.getvalue(), media_type=media_type, headers=next_link(request, cursor, name))


def _cell(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
