"""The main job through the gateway: an account, a key, and indicator values one can trust."""

import asyncio
from itertools import product
from typing import Any

import httpx
import numpy as np
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.conftest import Account
from tests.support.clients import get_patiently, until_cached
from tests.support.poll import until
from tests.support.sample import SYMBOLS, adjusted
from tests.support.stack import Stack

Series = list[float | None]

ORACLES: dict[str, dict[str, Any]] = {
    "sma": {"value": lambda close: talib.SMA(close, 30)},
    "ema": {"value": lambda close: talib.EMA(close, 30)},
    "rsi": {"value": lambda close: talib.RSI(close, 14)},
    "macd": {
        name: lambda close, at=at: talib.MACD(close, 12, 26, 9)[at] for at, name in enumerate(("macd", "signal", "histogram"))
    },
    "bbands": {
        name: lambda close, at=at: talib.BBANDS(close, 20, 2.0, 2.0, 0)[at]
        for at, name in enumerate(("upper", "middle", "lower"))
    },
}


def nulls(values: Any) -> Series:
    return [None if np.isnan(value) else float(value) for value in values]


async def test_register_log_in_create_a_key_and_read_an_indicator(client: httpx.AsyncClient, free_account: Account) -> None:
    by_key = await client.get("/api/v1/indicators/sma?symbol=AAPL", headers=free_account.key)
    by_token = await client.get("/api/v1/indicators/sma?symbol=AAPL", headers=free_account.token)
    by_bearer = await client.get(
        "/api/v1/indicators/sma?symbol=AAPL", headers={"Authorization": f"Bearer {free_account.key['X-API-Key']}"}
    )
    assert by_key.status_code == by_token.status_code == by_bearer.status_code == 200, by_key.text
    assert by_key.json() == by_token.json() == by_bearer.json()
    assert by_key.json()["window"]["tier"] == "free"


@pytest.mark.parametrize(("indicator", "symbol"), list(product(ORACLES, SYMBOLS)))
async def test_values_equal_ta_lib_on_adjusted_prices_to_the_last_bit(
    client: httpx.AsyncClient, stack: Stack, indicator: str, symbol: str
) -> None:
    bars = adjusted(symbol)
    answer = await client.get(f"/api/v1/indicators/{indicator}?symbol={symbol}&limit=50000", headers=stack.key("enterprise"))
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [row["date"] for row in data] == [date.isoformat() for date in bars.dates]
    for output, oracle in ORACLES[indicator].items():
        assert [row[output] for row in data] == nulls(oracle(bars.close)), output


@pytest.mark.parametrize("mode", ["split_dividend", "split", "none"])
@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_the_newest_bar_equals_the_traded_price_in_every_mode(
    client: httpx.AsyncClient, stack: Stack, symbol: str, mode: str
) -> None:
    answer = await client.get(f"/api/v1/bars/{symbol}?order=desc&limit=1&adjustment={mode}", headers=stack.key("enterprise"))
    assert answer.json()["data"][0]["close"] == adjusted(symbol).traded[-1]


REACH: dict[str, tuple[set[str], int]] = {
    "free": ({"sma", "ema"}, 90),
    "pro": ({"sma", "ema", "rsi", "macd"}, 365),
    "premium": (set(ORACLES), 10_000),
    "enterprise": (set(ORACLES), 10_000),
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    indicator=st.sampled_from(sorted(ORACLES)),
    symbol=st.sampled_from(SYMBOLS),
    first=st.integers(min_value=0, max_value=190),
    length=st.integers(min_value=1, max_value=60),
    order=st.sampled_from(["asc", "desc"]),
    tier=st.sampled_from(sorted(REACH)),
)
def test_a_value_is_the_same_whatever_the_start_the_order_and_the_tier(
    stack: Stack, *, indicator: str, symbol: str, first: int, length: int, order: str, tier: str
) -> None:
    """The warm-up contract: a tier limits the rows returned, never the input."""
    bars = adjusted(symbol)
    series = {name: nulls(oracle(bars.close)) for name, oracle in ORACLES[indicator].items()}
    at = len(bars.dates) - 1 - first
    whole = {
        date: {name: values[index] for name, values in series.items()}
        for index, date in list(enumerate(bars.dates))[at : at + length]
    }
    allowed, days = REACH[tier]
    seen = {date: row for date, row in whole.items() if (bars.dates[-1] - date).days <= days}
    path = f"/api/v1/indicators/{indicator}?symbol={symbol}&start_date={min(whole)}&end_date={max(whole)}&order={order}"

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as client:
            return await get_patiently(client, path, stack.key(tier))

    answer = asyncio.run(ask())
    if indicator not in allowed or not seen:
        assert answer.status_code == 403, answer.text
        return
    assert answer.status_code == 200, answer.text
    rows = {row.pop("date"): row for row in answer.json()["data"]}
    assert rows == {date.isoformat(): row for date, row in seen.items()}
    assert list(rows) == sorted(rows, reverse=order == "desc")


async def test_a_free_user_reads_ninety_days_and_is_told_so(client: httpx.AsyncClient, free_account: Account) -> None:
    whole = (await client.get("/api/v1/indicators/sma?symbol=AAPL&start_date=2000-03-01", headers=free_account.key)).json()
    newest = adjusted("AAPL").dates[-1]
    assert whole["window"]["clamped"] is True
    assert all((newest - type(newest).fromisoformat(row["date"])).days <= 90 for row in whole["data"])
    assert whole["data"][0]["value"] is not None, "the warm-up reaches behind the window"


async def test_the_fifty_first_request_of_a_day_is_refused(client: httpx.AsyncClient, free_account: Account) -> None:
    path = "/api/v1/indicators/sma?symbol=IBM"
    statuses = [(await get_patiently(client, path, free_account.key)).status_code for _ in range(50)]
    assert statuses == [200] * 50
    refused = await get_patiently(client, path, free_account.token)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert "day" in refused.json()["violated-policies"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit-policy"] == '"burst";q=5;w=1, "day";q=50;w=86400'
    assert '"day";r=0;t=' in refused.headers["ratelimit"]
    usage = (await client.get("/api/v1/usage", headers=free_account.key)).json()
    day = next(policy for policy in usage["policies"] if policy["name"] == "day")
    assert (day["used"], day["remaining"], day["quota"]) == (50, 0, 50)


async def test_a_second_request_is_answered_from_the_cache_and_says_so(client: httpx.AsyncClient, stack: Stack) -> None:
    # just after a start the gateway may not have heard of every version yet
    await until_cached(client, "/api/v1/indicators/bbands?symbol=MSFT&time_period=16", stack.key("premium"))
    path = "/api/v1/indicators/bbands?symbol=MSFT&time_period=17"
    first, second = [await client.get(path, headers=stack.key("premium")) for _ in range(2)]
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    again = await client.get(path, headers={**stack.key("premium"), "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_parts_of_the_contract_that_only_look(client: httpx.AsyncClient, stack: Stack) -> None:
    key = stack.key("pro")
    catalogue = (await client.get("/api/v1/indicators", headers=key)).json()["data"]
    assert {"sma", "ema", "rsi", "macd", "bbands"} <= {entry["name"] for entry in catalogue}
    symbols = (await client.get("/api/v1/symbols", headers=key)).json()["data"]
    assert set(SYMBOLS) <= {entry["symbol"] for entry in symbols}
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok"), health.text
    docs = await client.get("/docs")
    assert docs.status_code == 200
    assert "text/html" in docs.headers["content-type"]
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/api/v1/auth/login", "/api/v1/symbols", "/api/v1/bars/{symbol}", "/api/v1/indicators/rsi", "/api/v1/usage"} <= set(
        paths
    )


async def test_a_deleted_key_stops_working(client: httpx.AsyncClient, free_account: Account) -> None:
    assert (await client.get("/api/v1/usage", headers=free_account.key)).status_code == 200
    gone = await client.delete(f"/api/v1/auth/api-keys/{free_account.key_id}", headers=free_account.token)
    assert gone.status_code == 204

    async def refused() -> bool:
        return (await client.get("/api/v1/usage", headers=free_account.key)).status_code == 401

    await until(refused, seconds=9)  # before it would be asked for anew
