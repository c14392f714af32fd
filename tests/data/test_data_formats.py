"""Bars as CSV, Arrow and Parquet: the values of the JSON to the last bit, whatever is asked for."""

import io
import struct
from datetime import date
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from data_service.app import create_app
from data_service.settings import Settings
from shared.formats import MEDIA_TYPES
from tests.support.sample import adjusted

OTHERS = ("csv", "arrow", "parquet")
VALUES = ["open", "high", "low", "close", "volume"]


def table(answer: httpx.Response) -> pl.DataFrame:
    assert answer.status_code == 200, answer.text
    body = io.BytesIO(answer.content)
    media_type = answer.headers["content-type"]
    if media_type == MEDIA_TYPES["csv"]:
        columns = answer.text.splitlines()[0].split(",")
        types = {"date": pl.Date, "partial": pl.Boolean}
        return pl.read_csv(body, schema={name: types.get(name, pl.Float64) for name in columns})
    if media_type == MEDIA_TYPES["arrow"]:
        return pl.read_ipc_stream(body)
    assert media_type == MEDIA_TYPES["parquet"]
    return pl.read_parquet(body)


def exact(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Every name in its order with every value's bits."""
    return [
        [(name, struct.pack("<d", value) if isinstance(value, float) else value) for name, value in row.items()] for row in rows
    ]


def json_rows(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return [{**row, "date": date.fromisoformat(row["date"])} for row in rows]


DAYS = st.none() | st.dates(date(1999, 12, 1), date(2013, 6, 1))


@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    symbol=st.sampled_from(["AAPL", "FB", "GOOG", "IBM", "MSFT"]),
    range_=st.tuples(DAYS, DAYS),
    order=st.sampled_from(["asc", "desc"]),
    interval=st.sampled_from(["1day", "1week", "1month"]),
    adjustment=st.sampled_from(["split_dividend", "split", "none"]),
    include=st.none() | st.lists(st.sampled_from(VALUES), unique=True, min_size=1),
    limit=st.integers(1, 400),
)
async def test_every_format_says_the_same(
    client: httpx.AsyncClient,
    symbol: str,
    range_: tuple[date | None, date | None],
    order: str,
    interval: str,
    adjustment: str,
    include: list[str] | None,
    limit: int,
) -> None:
    start, end = range_
    if start and end and start > end:
        start, end = end, start
    asked = {"start_date": start, "end_date": end, "include": include and ",".join(include)}
    query = {name: str(value) for name, value in asked.items() if value is not None}
    query |= {"order": order, "interval": interval, "adjustment": adjustment, "limit": str(limit)}
    expected = json_rows(await client.get(f"/api/v1/bars/{symbol}", params=query))
    columns = ["date", *(include or VALUES), *(["partial"] if interval != "1day" else [])]
    assert all(list(row) == columns for row in expected)
    for written in OTHERS:
        found = table(await client.get(f"/api/v1/bars/{symbol}", params={**query, "format": written}))
        assert found.columns == columns
        assert exact(found.to_dicts()) == exact(expected)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("written", OTHERS)
@pytest.mark.parametrize("by", ["parameter", "header"])
async def test_links_lead_through_all_of_it_once(client: httpx.AsyncClient, written: str, order: str, by: str) -> None:
    url: str | None = f"/api/v1/bars/FB?order={order}&limit=60&include=close"
    accept = {}
    if by == "parameter":
        url = f"{url}&format={written}"
    else:
        accept = {"Accept": MEDIA_TYPES[written]}  # type: ignore[index]  # a literal, from a parameter
    pages: list[pl.DataFrame] = []
    while url is not None:
        # a link leads on in its page's format, without the header
        answer = await client.get(url, headers=accept if not pages else {})
        pages.append(table(answer))
        url = answer.links["next"]["url"] if "next" in answer.links else None
    dates, closes = list(adjusted("FB").dates), adjusted("FB").close.tolist()
    whole = pl.concat(pages)
    assert [len(page) for page in pages[:-1]] == [60] * (len(pages) - 1)
    assert whole["date"].to_list() == (dates if order == "asc" else dates[::-1])
    assert whole["close"].to_list() == (closes if order == "asc" else closes[::-1])


async def test_a_cursor_serves_any_format(client: httpx.AsyncClient) -> None:
    cursor = (await client.get("/api/v1/bars/IBM?limit=2")).json()["next_cursor"]
    query = f"/api/v1/bars/IBM?limit=2&cursor={cursor}"
    assert table(await client.get(f"{query}&format=arrow")).to_dicts() == json_rows(await client.get(query))


async def test_each_format_has_its_own_tag_and_is_not_sent_twice(client: httpx.AsyncClient) -> None:
    tags = {}
    for written in MEDIA_TYPES:
        url = f"/api/v1/bars/IBM?limit=3&format={written}"
        first = await client.get(url)
        again = await client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("vary", "cache-control", "surrogate-key", "etag"):
            assert again.headers[name] == first.headers[name]
        assert again.headers.get("link") == first.headers.get("link")
        assert "Accept" in first.headers["vary"]
        assert first.headers["surrogate-key"].startswith("bars:IBM@")
        assert (await client.get(url)).headers["etag"] == first.headers["etag"]
        tags[written] = first.headers["etag"]
    assert len(set(tags.values())) == len(MEDIA_TYPES)
    other = await client.get("/api/v1/bars/IBM?limit=3&format=csv", headers={"If-None-Match": tags["arrow"]})
    assert other.status_code == 200


async def test_what_json_says_beside_the_rows_is_in_header_fields(client: httpx.AsyncClient, pro: dict[str, str]) -> None:
    for query, clamped in (("start_date=2010-01-01", "true"), ("start_date=2013-01-02", "false")):
        document = (await client.get(f"/api/v1/bars/IBM?{query}", headers=pro)).json()
        answer = await client.get(f"/api/v1/bars/IBM?{query}&format=parquet", headers=pro)
        assert answer.headers["x-kalpi-window-clamped"] == clamped == str(document["window"]["clamped"]).lower()
        assert answer.headers["x-kalpi-data-version"] == document["provenance"]["data_version"]
        assert "link" not in answer.headers


async def test_no_rows_still_have_their_columns(client: httpx.AsyncClient) -> None:
    saturday = "/api/v1/bars/IBM?start_date=2013-01-05&end_date=2013-01-06&interval=1week"
    assert (await client.get(saturday)).json()["data"] == []
    for written in OTHERS:
        empty = table(await client.get(f"{saturday}&format={written}"))
        assert (len(empty), empty.columns) == (0, ["date", *VALUES, "partial"])


async def test_the_header_field_decides_where_the_parameter_does_not(client: httpx.AsyncClient) -> None:
    for accept, expected in ((MEDIA_TYPES["arrow"], "arrow"), ("text/csv, */*;q=0.1", "csv"), ("text/html, */*;q=0.8", "json")):
        answer = await client.get("/api/v1/bars/IBM?limit=1", headers={"Accept": accept})
        assert answer.headers["content-type"] == MEDIA_TYPES[expected]  # type: ignore[index]  # a literal, from a tuple
    answer = await client.get("/api/v1/bars/IBM?limit=1&format=json", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "application/json"


async def test_what_cannot_be_written_is_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/bars/IBM", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    assert answer.json()["type"] == "urn:kalpi:problem:not-acceptable"
    assert "application/vnd.apache.parquet" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("format=xml", "format", "parquet"),
        ("include=colour", "include", "no column 'colour'; there are open, high, low, close, volume"),
        ("include=close,adj_close", "include", "adj_close"),
        ("include=close,close", "include", "close twice"),
        ("include=", "include", "no column ''"),
        ("include=close,", "include", "no column ''"),
        ("include=date", "include", "date"),
    ],
)
async def test_a_format_or_column_that_is_not_there_is_named(
    client: httpx.AsyncClient, query: str, field: str, said: str
) -> None:
    answer = await client.get(f"/api/v1/bars/IBM?{query}")
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["loc"] == ["query", field]
    assert said in error["msg"]


def test_the_document_names_every_media_type(settings: Settings) -> None:
    described = create_app(settings).openapi()["paths"]["/api/v1/bars/{symbol}"]["get"]
    content = described["responses"]["200"]["content"]
    assert set(content) == {media_type.partition(";")[0] for media_type in MEDIA_TYPES.values()}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/BarsAnswer"}
    assert {"format", "include"} <= {parameter["name"] for parameter in described["parameters"]}
    assert "X-Kalpi-Window-Clamped" in described["description"]
