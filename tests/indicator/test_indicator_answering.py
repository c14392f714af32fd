"""What computes long does so beside the rest, in few lanes, and nobody waits for one without end."""

import asyncio
import os
import threading
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from indicator_service.api import answering
from indicator_service.api.answering import Lanes
from shared.errors import Unavailable

LONG = "/api/v1/indicators/cci?symbol=AAPL&time_period=2000&limit=1"


class Held:
    """A call that goes on until it may end."""

    def __init__(self) -> None:
        self._may_end = threading.Event()
        self._begun = threading.Semaphore(0)

    def __call__(self) -> bool:
        self._begun.release()
        return self._may_end.wait(30)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.acquire, timeout=15)

    def end(self) -> None:
        self._may_end.set()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.end()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(answering, "_PATIENCE_S", 0.01)
    return monkeypatch


async def test_who_finds_no_lane_free_is_to_come_again(held: Held, impatient: pytest.MonkeyPatch) -> None:
    async with Lanes(1) as lanes:
        running = asyncio.create_task(lanes.run(held))
        await held.begun()
        with pytest.raises(Unavailable):
            await lanes.run(lambda: True)
        held.end()
        assert await running
        assert await lanes.run(lambda: True)


async def test_a_lane_is_taken_until_its_call_ends_also_when_nobody_waits_for_that(
    held: Held, impatient: pytest.MonkeyPatch
) -> None:
    async with Lanes(1) as lanes:
        running = asyncio.create_task(lanes.run(held))
        await held.begun()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(Unavailable):
            await lanes.run(lambda: True)
        held.end()
        impatient.undo()
        assert await lanes.run(lambda: True)


async def test_what_computes_long_keeps_only_what_computes_long_waiting(
    app: FastAPI, client: httpx.AsyncClient, held: Held, impatient: pytest.MonkeyPatch
) -> None:
    running = [asyncio.create_task(app.state.lanes.run(held)) for _ in range(os.cpu_count() or 1)]
    for _ in running:
        await held.begun()
    assert (await client.get("/api/v1/indicators/cci?symbol=AAPL")).status_code == 200
    batch = {"constructs": [{"symbol": "AAPL", "limit": 1, "indicators": [{"indicator": "sma"}]}]}
    assert (await client.post("/api/v1/indicators/batch", json=batch)).status_code == 200
    for answer in (
        await client.get(LONG),
        await client.post("/api/v1/expressions/evaluate", json={"symbol": "AAPL", "expression": "cci(2000)"}),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    held.end()
    assert all(await asyncio.gather(*running))
    impatient.undo()
    assert (await client.get(LONG)).status_code == 200
