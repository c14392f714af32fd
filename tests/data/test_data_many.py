"""Bars of many symbols in one answer, for other services."""

import io
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl
import pytest

from data_service.app import NAME
from data_service.domain.bars import VALUES
from shared.principal import Principal
from tests.data.test_data_intraday_http import client as client_with_minutes  # noqa: F401 - a fixture
from tests.support.principals import headers_for, user

PATH = "/internal/v1/bars"


def service() -> dict[str, str]:
    return headers_for(Principal.service("indicator-service"), NAME, None)


async def asked(client: httpx.AsyncClient, **body: Any) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The head, and each symbol's columns."""
    answer = await client.post(PATH, json=body, headers=service())
    assert answer.status_code == 200, answer.text
    length = int.from_bytes(answer.content[:8], "little")
    head = orjson.loads(answer.content[8 : 8 + length])
    sent = [symbol for symbol in head["symbols"] if symbol["rows"] is not None]
    numbers = np.frombuffer(answer.content, np.int64, offset=8 + length)
    block = numbers[head["dates"] :].view(np.float64).reshape(len(head["columns"]), -1)
    ends = np.cumsum([symbol["rows"] for symbol in sent])
    columns: dict[str, dict[str, np.ndarray]] = {}
    for symbol, end in zip(sent, ends, strict=True):
        part = block[:, end - symbol["rows"] : end]
        dates = numbers[symbol["first_date"] : symbol["first_date"] + symbol["rows"]]
        columns[symbol["symbol"]] = {"date": dates, **dict(zip(head["columns"], part, strict=True))}
    return head, columns


@pytest.mark.parametrize("interval", ["1day", "1month"])
@pytest.mark.parametrize("adjustment", ["split_dividend", "split", "none"])
async def test_each_symbol_is_as_it_is_by_itself(client: httpx.AsyncClient, interval: str, adjustment: str) -> None:
    head, columns = await asked(client, interval=interval, adjustment=adjustment, columns=list(VALUES))
    assert [symbol["symbol"] for symbol in head["symbols"]] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    for symbol in head["symbols"]:
        path = f"{PATH}/{symbol['symbol']}?interval={interval}&adjustment={adjustment}"
        alone = await client.get(path, headers=service())
        table = pl.read_ipc_stream(io.BytesIO(alone.content))
        assert alone.headers["etag"] == f'"{symbol["data_version"]}"'
        assert (symbol["rows"], symbol["zone"], symbol["newest"]) == (table.height, None, "2013-03-01")
        own = columns[symbol["symbol"]]
        np.testing.assert_array_equal(own["date"], table["date"].to_numpy().astype("datetime64[D]").view(np.int64))
        for name in VALUES:
            np.testing.assert_array_equal(own[name], table[name].to_numpy())


async def test_of_a_known_version_no_bars_are_sent_and_what_is_not_there_is_told(client: httpx.AsyncClient) -> None:
    first, _ = await asked(client, symbols=["IBM", "MSFT"])
    known = {first["symbols"][0]["symbol"]: first["symbols"][0]["data_version"], "MSFT": "another"}
    head, columns = await asked(client, symbols=["IBM", "MSFT", "NOSUCH"], known=known)
    assert [(symbol["symbol"], symbol["rows"]) for symbol in head["symbols"]] == [("IBM", None), ("MSFT", 3270)]
    assert list(columns) == ["MSFT"]
    assert head["missing"] == {"NOSUCH": "unknown"}
    assert head["columns"] == ["close"]
    assert (await asked(client, symbols=[]))[0]["symbols"] == []


async def test_dates_that_symbols_share_are_sent_once(client: httpx.AsyncClient) -> None:
    head, columns = await asked(client, symbols=["IBM", "MSFT", "FB"])
    assert head["dates"] == sum(len(columns[symbol]["date"]) for symbol in ("IBM", "FB"))
    assert [symbol["first_date"] for symbol in head["symbols"]] == [0, 0, len(columns["IBM"]["date"])]


async def test_as_of_a_day_the_newest_bar_is_told_all_the_same(client: httpx.AsyncClient) -> None:
    head, columns = await asked(client, symbols=["AAPL"], as_of="2005-02-25")
    assert head["symbols"][0]["newest"] == "2013-03-01"
    assert columns["AAPL"]["close"][-1] == 88.99


async def test_the_versions_of_all_symbols_are_sent_once(client: httpx.AsyncClient) -> None:
    answer = await client.get("/internal/v1/versions", headers=service())
    told = answer.json()
    head, _ = await asked(client)
    assert told["symbols"] == [symbol["symbol"] for symbol in head["symbols"]]
    assert told["versions"] == [symbol["data_version"] for symbol in head["symbols"]]
    assert (set(told["newest"]), told["missing"]) == ({"2013-03-01"}, {})
    again = await client.get("/internal/v1/versions", headers={**service(), "If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    finer = (await client.get("/internal/v1/versions?interval=1h", headers=service())).json()
    assert (finer["symbols"], list(finer["missing"])) == ([], told["symbols"])


async def test_moments_come_with_their_zone(client_with_minutes: httpx.AsyncClient) -> None:  # noqa: F811 - the fixture
    head, columns = await asked(client_with_minutes, interval="1h", columns=["close"])
    (symbol,) = head["symbols"]
    assert (symbol["symbol"], symbol["zone"], symbol["rows"]) == ("AAPL", "America/New_York", 21)
    assert str(columns["AAPL"]["date"][0].astype("datetime64[s]")) == "2024-03-07T14:30:00"
    assert head["missing"]["IBM"].startswith("1h: finer than the bars of IBM")


@pytest.mark.parametrize("body", [{"columns": ["adj_close"]}, {"symbols": "IBM"}, {"interval": "2h"}, {"more": 1}])
async def test_a_bad_question_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post(PATH, json=body, headers=service())).status_code == 422


async def test_it_is_for_services_alone(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, json={}, headers=headers_for(user("enterprise"), NAME))).status_code == 404
