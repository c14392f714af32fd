"""Bars imported through the gateway are what indicators are computed on."""

import httpx
import numpy as np
import talib

from shared.ids import new_id
from tests.e2e.conftest import Account
from tests.support.poll import until
from tests.support.stack import Stack

IMPORT = "/api/v1/data/import"
CLOSES = [10.0, 11.0, 12.5, 13.25, 15.0]


def csv_of(symbol: str, closes: list[float]) -> bytes:
    rows = [f"{symbol},2020-01-{day:02d},{close},{close + 1},{close - 1},{close},1000" for day, close in enumerate(closes, 1)]
    return "\n".join(["Ticker,Date,Open,High,Low,Close,Volume", *rows]).encode()


async def test_an_administrator_imports_bars_and_the_next_answer_is_computed_on_them(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    symbol = f"IMP-{new_id().hex[:12].upper()}"
    admin, reader = stack.key("admin"), stack.key("premium")
    path = f"/api/v1/indicators/sma?symbol={symbol}&time_period=3"

    async def value_is(closes: list[float]) -> bool:
        answer = await client.get(path, headers=reader)
        expected = float(talib.SMA(np.array(closes), 3)[-1])
        return answer.status_code == 200 and answer.json()["data"][-1]["value"] == expected

    looked = await client.post(f"{IMPORT}?dry_run=true", headers=admin, files={"file": ("bars.csv", csv_of(symbol, CLOSES))})
    assert looked.status_code == 200, looked.text
    assert looked.json()["changed"][0]["symbol"] == symbol
    assert (await client.get(path, headers=reader)).status_code == 404
    for closes in (CLOSES, [*CLOSES[:-1], 99.0]):
        taken = await client.post(IMPORT, headers=admin, files={"file": ("bars.csv", csv_of(symbol, closes))})
        assert taken.status_code == 200, taken.text
        await until(lambda closes=closes: value_is(closes), what="the imported value")  # type: ignore[misc]  # mypy cannot infer it


async def test_a_file_with_a_bad_row_is_refused_whole_and_the_row_named(client: httpx.AsyncClient, stack: Stack) -> None:
    symbol = f"IMP-{new_id().hex[:12].upper()}"
    bad = csv_of(symbol, CLOSES).replace(b"2020-01-03", b"tomorrow")
    refused = await client.post(IMPORT, headers=stack.key("admin"), files={"file": ("bars.csv", bad)})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    (error,) = refused.json()["errors"]
    assert error["loc"] == ["body", "file", "bars.csv", 4, "date"]
    assert (await client.get(f"/api/v1/symbols/{symbol}", headers=stack.key("premium"))).status_code == 404


async def test_nobody_else_imports(client: httpx.AsyncClient, free_account: Account, stack: Stack) -> None:
    files = {"file": ("bars.csv", csv_of("NOBODY", CLOSES))}
    for headers, status in ((free_account.key, 403), (stack.key("enterprise"), 403), ({}, 401)):
        assert (await client.post(IMPORT, headers=headers, files=files)).status_code == status


async def test_bars_come_in_the_format_that_is_asked_for(client: httpx.AsyncClient, stack: Stack) -> None:
    path = "/api/v1/bars/MSFT?limit=5"
    plain = await client.get(path, headers=stack.key("premium"))
    tags = {plain.headers["etag"]}
    for media_type in ("text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"):
        # twice: the second may come from the gateway's cache
        for answer in [await client.get(path, headers={**stack.key("premium"), "Accept": media_type}) for _ in range(2)]:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(media_type)
            assert 'rel="next"' in answer.headers["link"]
            tags.add(answer.headers["etag"])
    assert len(tags) == 4


async def test_minutes_are_imported_and_answer_every_coarser_interval(client: httpx.AsyncClient, stack: Stack) -> None:
    symbol = f"IMP-{new_id().hex[:12].upper()}"
    minutes = [(9 + (30 + at) // 60, (30 + at) % 60) for at in range(390)]
    closes = [100.0 + at % 7 for at in range(390)]
    rows = [
        f"{symbol},2024-03-08 {hour:02d}:{minute:02d},{close},{close},{close},{close},10"
        for (hour, minute), close in zip(minutes, closes, strict=True)
    ]
    data = "\n".join(["symbol,date,open,high,low,close,volume", *rows]).encode()
    path = f"{IMPORT}?interval=1min&exchange=XNYS&currency=USD"
    taken = await client.post(path, headers=stack.key("admin"), files={"file": ("minutes.csv", data)})
    assert taken.status_code == 200, taken.text
    reader = stack.key("premium")

    async def served() -> bool:
        return (await client.get(f"/api/v1/bars/{symbol}?interval=1min", headers=reader)).status_code == 200

    await until(served, what="the imported minutes")
    hours = (await client.get(f"/api/v1/bars/{symbol}?interval=1h", headers=reader)).json()["data"]
    assert [row["date"][11:] for row in hours] == [f"{hour:02d}:30:00-05:00" for hour in range(9, 16)]
    (day,) = (await client.get(f"/api/v1/bars/{symbol}", headers=reader)).json()["data"]
    assert (day["date"], day["volume"], day["partial"]) == ("2024-03-08", 3900.0, False)
    sma = await client.get(
        f"/api/v1/indicators/sma?symbol={symbol}&interval=5min&time_period=3&order=desc&limit=1", headers=reader
    )
    (row,) = sma.json()["data"]
    expected = talib.SMA(np.array(closes[4::5]), 3)[-1]
    assert (row["date"], row["value"]) == ("2024-03-08T15:55:00-05:00", float(expected))
