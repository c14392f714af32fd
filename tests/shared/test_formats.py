"""Which format a client is answered in, and that a table is the same in each."""

import io
import json
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from fastapi import Request
from hypothesis import example, given
from hypothesis import strategies as st

from shared.conditional import conditional
from shared.formats import (
    MEDIA_TYPES,
    Format,
    NotAcceptable,
    json_rows,
    negotiate,
    next_link,
    render,
    requested_format,
    table_of,
)

CSV, ARROW, PARQUET = "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def asking(*accept: str, query: str = "", path: str = "/api/v1/bars/AAPL", **headers: str) -> Request:
    sent = [(b"accept", value.encode()) for value in accept] + [
        (name.encode(), value.encode()) for name, value in headers.items()
    ]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": sent}
    return Request({**scope, "server": ("service", 80), "scheme": "http"})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/json; charset=utf-8", "json"),
        (CSV, "csv"),
        ("TEXT/CSV", "csv"),
        ("text/*", "csv"),
        ("text/csv; charset=UTF-8; header=present", "csv"),
        ('text/csv;header="present"', "csv"),
        (ARROW, "arrow"),
        (PARQUET, "parquet"),
        ("application/*", "json"),
        # what a browser sends
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        # weights decide
        (f"application/json;q=0.5, {CSV};q=0.9", "csv"),
        (f"{CSV};q=0.001, {PARQUET};q=0.002", "parquet"),
        (f"{CSV} ; q=0.2 , {ARROW} ; Q=0.3", "arrow"),
        # of equals the one named most exactly, then our preference
        (f"*/*, {CSV}", "csv"),
        (f"{PARQUET}, {ARROW}, {CSV}", "csv"),
        ("text/*, application/json", "json"),
        # the most specific range gives a format's weight, in whatever order they stand
        ("application/json;q=0, */*", "csv"),
        (f"*/*, application/json;q=0, {CSV};q=0, {ARROW};q=0", "parquet"),
        ("text/csv;q=0.9, text/csv;header=absent, */*;q=0.1", "csv"),
        (f"text/csv;header=present;q=0.1, text/csv, {PARQUET};q=0.5", "parquet"),
        # what is no media range says nothing
        (f"csv, {ARROW}", "arrow"),
        (f"application/json;q=2, {CSV};q=0.1", "csv"),
        (f"*/csv, application/json;q=high, ,, {PARQUET}", "parquet"),
        (f'text/plain;a="x, {CSV}", {ARROW}', "arrow"),
    ],
)
def test_the_client_gets_what_it_likes_best(accept: str, expected: Format) -> None:
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "csv",
        "*/*;q=0",
        "text/csv;header=absent",
        "text/html, application/xml;q=0.9",
        'text/plain;a="',
        ",",
        f'text/plain;a="x, {CSV}',
    ],
)
def test_a_client_that_likes_nothing_there_is_gets_a_406_that_says_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable) as caught:
        negotiate(accept)
    assert caught.value.status == 406
    assert all(media_type in caught.value.detail for media_type in MEDIA_TYPES.values())


def test_the_parameter_goes_before_the_header_field() -> None:
    assert requested_format(asking(CSV), "parquet") == "parquet"
    assert requested_format(asking("image/png"), "json") == "json"
    assert requested_format(asking(), None) == "json"


def test_a_field_sent_in_two_lines_is_one_list() -> None:
    """RFC 9110, section 5.3."""
    assert requested_format(asking("application/json;q=0.1", CSV), None) == "csv"


def test_a_quote_that_does_not_end_takes_no_time_for_each_byte_after_it() -> None:
    """As much as a header holds; with a look at the rest from each quote this would take half a minute."""
    with pytest.raises(NotAcceptable):
        negotiate('"' + '\\"' * (32 << 10))


@example(";")
@given(st.text(max_size=80))
def test_no_accept_field_is_an_accident(accept: str) -> None:
    with suppress(NotAcceptable):
        assert negotiate(accept) in MEDIA_TYPES


def parsed(body: bytes, written: Format, schema: dict[str, Any]) -> dict[str, list[Any]]:
    if written == "csv":
        return pl.read_csv(io.BytesIO(body), schema=schema).to_dict(as_series=False)
    if written == "arrow":
        return pl.read_ipc_stream(io.BytesIO(body)).to_dict(as_series=False)
    return pl.read_parquet(io.BytesIO(body)).to_dict(as_series=False)


def bits(values: Sequence[float | None]) -> list[bytes | None]:
    return [None if value is None else struct.pack("<d", value) for value in values]


FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
DATES = st.dates().map(str)


@given(st.lists(st.tuples(DATES, FLOATS, FLOATS, st.booleans()), max_size=20), st.booleans())
def test_a_table_is_the_same_to_the_last_bit_in_every_format(rows: list[tuple[str, float, float, bool]], backwards: bool) -> None:
    days = np.array([row[0] for row in rows], dtype="datetime64[D]")
    array, listed = np.array([row[1] for row in rows]), [row[2] for row in rows]
    if backwards:
        # a view with a negative stride, as a descending page is
        days, array, listed = days[::-1], array[::-1], listed[::-1]
    table = table_of({"date": days, "array": array, "listed": listed or np.empty(0), "partial": np.zeros(len(rows), bool)})
    schema = {"date": pl.Date, "array": pl.Float64, "listed": pl.Float64, "partial": pl.Boolean}
    for name, values in (("array", array.tolist()), ("listed", listed)):
        expected = bits([value if math.isfinite(value) else None for value in values])
        assert bits([row[name] for row in json.loads(orjson.dumps(json_rows(table)))]) == expected
        for written in ("csv", "arrow", "parquet"):
            found = parsed(render(table, written), written, schema)
            assert bits(found[name]) == expected
            assert found["date"] == days.tolist()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
def test_rows_are_the_bytes_of_a_dict_for_each(values: list[float]) -> None:
    rows = [{"date": "2020-01-02", "value": value} for value in values]
    table = table_of({"date": np.full(len(values), np.datetime64("2020-01-02")), "value": np.array(values)})
    assert orjson.dumps({"data": json_rows(table)}) == orjson.dumps({"data": rows})


def test_a_list_may_hold_none_and_text() -> None:
    table = table_of({"symbol": ["A", "BRK.B"], "value": [None, 2.5], "empty": [None, None]})
    assert json.loads(orjson.dumps(json_rows(table))) == [
        {"symbol": "A", "value": None, "empty": None},
        {"symbol": "BRK.B", "value": 2.5, "empty": None},
    ]
    assert render(table, "csv") == b"symbol,value,empty\r\nA,,\r\nBRK.B,2.5,\r\n"


def test_the_next_page_is_linked_in_the_format_of_this_one() -> None:
    request = asking(CSV, query="order=desc&cursor=old&include=close%2Cvolume")
    assert next_link(request, "a-b_c", "csv") == {
        "Link": '</api/v1/bars/AAPL?order=desc&include=close%2Cvolume&format=csv&cursor=a-b_c>; rel="next"'
    }
    assert next_link(request, None, "csv") == {}


def test_a_link_can_hold_nothing_that_ends_it() -> None:
    link = next_link(asking(query="search=%3E%3B%0D%0A%22%C3%A9", path="/a>é"), "c", "csv")["Link"]
    assert link == '</a%3E%C3%A9?search=%3E%3B%0D%0A%22%C3%A9&format=csv&cursor=c>; rel="next"'


def test_who_has_the_bytes_is_told_the_rest_anew() -> None:
    first = conditional(asking(), b"a,b", MEDIA_TYPES["csv"], None, {"Link": "<1>"})
    assert first.headers["content-type"] == MEDIA_TYPES["csv"]
    assert "surrogate-key" not in first.headers
    again = conditional(
        asking(**{"if-none-match": first.headers["etag"]}), b"a,b", MEDIA_TYPES["csv"], "bars:A@1", {"Link": "<2>"}
    )
    assert (again.status_code, again.body, again.headers["link"], again.headers["surrogate-key"]) == (304, b"", "<2>", "bars:A@1")
