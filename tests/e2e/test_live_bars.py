"""A bar published on NATS changes the value the next request gets."""

import datetime as dt

import httpx
import numpy as np
import pytest
import talib

from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.subjects import feed_subject
from tests.support.poll import until
from tests.support.stack import Stack

FIRST = dt.date(2020, 1, 1)


async def publish(bus: EventBus, symbol: str, day: int, close: float) -> None:
    date = (FIRST + dt.timedelta(days=day)).isoformat()
    bar = {"date": date, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1000.0}
    data = {"symbol": symbol, "interval": "1day", "bar": bar, "final": True}
    await bus.publish(feed_subject("test"), data)


async def origin_requests(stack: Stack) -> float:
    """How many requests indicator-service has answered for SMA."""
    port = stack.state["services"]["indicator-service"]["port"]
    async with httpx.AsyncClient(trust_env=False) as direct:
        text = (await direct.get(f"http://127.0.0.1:{port}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("kalpi_http_requests_total") and "/indicators/sma" in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("corrected", [False, True], ids=["a new bar", "a corrected bar"])
async def test_the_next_request_gets_the_new_value_from_the_origin(
    client: httpx.AsyncClient, stack: Stack, *, corrected: bool
) -> None:
    symbol = f"LIVE-{new_id().hex[:12].upper()}"
    path = f"/api/v1/indicators/sma?symbol={symbol}&time_period=3&order=desc&limit=1"
    closes = [10.0, 11.0, 12.5, 13.25, 15.0]
    key = stack.key("premium")
    async with EventBus(stack.state["urls"]["nats"], service="test-feed", clock=system_clock, new_id=new_id) as bus:
        for day, close in enumerate(closes):
            await publish(bus, symbol, day, close)

        async def value_is(expected: list[float]) -> bool:
            answer = await client.get(path, headers=key)
            if answer.status_code == 404:
                return False
            newest = talib.SMA(np.array(expected), 3)[-1]
            return bool(answer.json()["data"][0]["value"] == newest)

        await until(lambda: value_is(closes), what="the first bars")

        async def is_hit() -> bool:
            return (await client.get(path, headers=key)).headers["x-cache"] == "HIT"

        # the origin may know a bar before the gateway has heard of it, and such an answer is not kept
        await until(is_hit, what="an answer that is kept")
        before = await origin_requests(stack)
        hits = [await client.get(path, headers=key) for _ in range(5)]
        assert [hit.headers["x-cache"] for hit in hits] == ["HIT"] * 5
        assert await origin_requests(stack) == before, "hits do not reach the origin"

        changed = [*closes[:-1], 99.0] if corrected else [*closes, 99.0]
        await publish(bus, symbol, len(changed) - 1, 99.0)
        await until(lambda: value_is(changed), what="the new value")
        assert await origin_requests(stack) > before, "the new value came from the origin"
        await until(is_hit, what="the new answer, kept")
        after = await client.get(path, headers=key)
        assert after.json()["provenance"]["data_version"] != hits[0].json()["provenance"]["data_version"]
