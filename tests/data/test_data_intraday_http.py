"""Bars of less than a day over HTTP: brought in, and asked for."""

import io
from collections.abc import AsyncIterator

import httpx
import numpy as np
import polars as pl
import pytest

from data_service.app import NAME, create_app
from data_service.settings import Settings
from shared.principal import Principal
from tests.data.test_data_intraday import NEW_YORK, SESSIONS, joined, series, symbol_of
from tests.support.asgi import running
from tests.support.principals import Vouched, headers_for, user

PARTS = series(SESSIONS)
WHOLE = joined(PARTS)


def csv() -> bytes:
    """Three sessions of minutes, by the clock of New York."""
    local = pl.Series(SESSIONS.astype("datetime64[us]")).dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK)
    values = {name: WHOLE[name] for name in ("open", "high", "low", "close", "volume")}
    frame = pl.DataFrame({"symbol": ["AAPL"] * len(SESSIONS), "date": local.dt.strftime("%Y-%m-%d %H:%M"), **values})
    return frame.write_csv().encode()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """As an administrator, with minutes of AAPL brought to its daily bars."""
    async with running(create_app(settings), Vouched(user("premium", roles=("admin",)), NAME)) as client:
        answer = await client.post("/api/v1/data/import?interval=1min&exchange=XNAS", files={"file": ("aapl.csv", csv())})
        assert answer.status_code == 200, answer.text
        assert [(one["symbol"], one["added"], one["rows"]) for one in answer.json()["changed"]] == [("AAPL", 1170, 1170)]
        yield client


async def test_a_symbol_says_what_it_serves(client: httpx.AsyncClient) -> None:
    symbol = (await client.get("/api/v1/symbols/AAPL")).json()
    assert symbol["intervals"] == ["1min", "5min", "15min", "30min", "1h", "4h", "1day", "1week", "1month"]
    assert (symbol["first_date"], symbol["last_date"], symbol["rows"]) == ("2000-03-01", "2024-03-11", 1170)
    assert (symbol["exchange"], symbol["currency"], symbol["time_zone"]) == ("XNAS", "USD", NEW_YORK)
    assert symbol["splits"] == [{"date": "2000-06-21", "ratio": 2.0}, {"date": "2005-02-28", "ratio": 2.0}]
    assert [row["symbol"] for row in (await client.get("/api/v1/symbols?interval=5min")).json()["data"]] == ["AAPL"]
    assert [row["symbol"] for row in (await client.get("/api/v1/symbols?exchange=XNYS")).json()["data"]] == ["IBM"]


async def test_bars_bear_their_beginning_with_its_offset(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/api/v1/bars/AAPL?interval=1h&start_date=2024-03-08&include=close")).json()["data"]
    assert [row["date"] for row in rows][:2] == ["2024-03-08T09:30:00-05:00", "2024-03-08T10:30:00-05:00"]
    assert rows[7]["date"] == "2024-03-11T09:30:00-04:00", "the clocks were put forward"
    assert rows[0]["close"] == WHOLE["close"][390 + 59]
    assert {row["partial"] for row in rows} == {False}
    stored = (await client.get("/api/v1/bars/AAPL?interval=1min&limit=1&include=close")).json()["data"]
    assert stored == [{"date": "2024-03-07T09:30:00-05:00", "close": WHOLE["close"][0]}]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_days_are_those_of_the_exchange_and_pages_go_on_within_them(client: httpx.AsyncClient, order: str) -> None:
    asked = f"/api/v1/bars/AAPL?interval=15min&start_date=2024-03-08&end_date=2024-03-08&include=close&order={order}&limit=10"
    rows: list[dict[str, object]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"{asked}&cursor={cursor}" if cursor else asked)).json()
        rows += page["data"]
        cursor = page["next_cursor"]
    assert len(rows) == 26
    dates = [str(row["date"]) for row in rows]
    assert {date[:10] for date in dates} == {"2024-03-08"}
    assert dates == sorted(dates, reverse=order == "desc")


async def test_the_other_formats_say_the_same(client: httpx.AsyncClient) -> None:
    asked = "/api/v1/bars/AAPL?interval=30min&include=close,volume"
    rows = (await client.get(asked)).json()["data"]
    csv_rows = (await client.get(f"{asked}&format=csv")).text.splitlines()
    assert [line.split(",")[0] for line in csv_rows[1:]] == [row["date"] for row in rows]
    arrow = pl.read_ipc_stream(io.BytesIO((await client.get(f"{asked}&format=arrow")).content))
    parquet = pl.read_parquet(io.BytesIO((await client.get(f"{asked}&format=parquet")).content))
    expected = symbol_of(*PARTS).view("30min", "none").bars
    for table in (arrow, parquet):
        assert table.schema["date"] == pl.Datetime("us", NEW_YORK)
        assert table["date"].dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list() == [row["date"] for row in rows]
        np.testing.assert_array_equal(table["close"].to_numpy(), expected.close)


async def test_days_that_are_stored_stay_as_they_are(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/bars/AAPL?order=desc&limit=1&adjustment=none")).json()
    assert [(row["date"], row["close"]) for row in answer["data"]] == [("2013-03-01", 430.47)]
    weeks = (await client.get("/api/v1/bars/IBM?interval=1week&order=desc&limit=1")).json()["data"]
    assert (weeks[0]["date"], weeks[0]["partial"]) == ("2013-03-01", False)
    assert (await client.get("/api/v1/bars/IBM?interval=1h")).status_code == 422


async def test_as_of_a_day_is_in_the_answer_and_in_the_range(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/bars/AAPL?as_of=2005-02-25&order=desc&limit=1")).json()
    assert answer["provenance"]["as_of"] == "2005-02-25"
    assert [(row["date"], row["close"]) for row in answer["data"]] == [("2005-02-25", 88.99)], "before it was split"
    assert (await client.get("/api/v1/bars/AAPL?as_of=1990-01-01")).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("interval=1week", "interval"),
        ("interval=1min&exchange=NYSE2", "exchange"),
        ("currency=dollar", "currency"),
        ("calendar=no", "calendar"),
    ],
)
async def test_what_is_said_of_an_import_is_checked(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.post(f"/api/v1/data/import?{query}", files={"file": ("a.csv", csv())})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", field]


async def test_services_are_given_moments_with_their_zone(settings: Settings, client: httpx.AsyncClient) -> None:
    headers = headers_for(Principal.service("indicator-service"), NAME, None)
    answer = await client.get("/internal/v1/bars/AAPL?interval=5min", headers=headers)
    table = pl.read_ipc_stream(io.BytesIO(answer.content))
    assert table.schema["date"] == pl.Datetime("us", NEW_YORK)
    assert table.height == 234
