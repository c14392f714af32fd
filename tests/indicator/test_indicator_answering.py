"""What takes long is done beside the rest: computing in few lanes, for which nobody waits without end, and writing many rows."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from indicator_service.api import answering, patterns
from indicator_service.api.answering import Lanes
from indicator_service.domain.answer import Scope
from indicator_service.domain.patterns import Found
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


@pytest.mark.parametrize(
    ("path", "writer", "name"),
    [
        ("/api/v1/indicators/sma?symbol=FB", Scope, "document"),
        ("/api/v1/indicators/sma?symbol=FB&format=csv", Scope, "columns"),
        ("/api/v1/patterns/FB?limit=200", Found, "rows"),
        ("/api/v1/patterns/FB?limit=200", patterns, "_body"),
    ],
)
async def test_many_rows_are_written_where_they_keep_nobody_waiting(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str, writer: Any, name: str
) -> None:
    """And are the same as few, which are written at once."""
    on_loop = []
    write = getattr(writer, name)

    def watched(*given: Any) -> Any:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return write(*given)

    monkeypatch.setattr(writer, name, watched)
    few = await client.get(path)
    monkeypatch.setattr(answering, "_MANY_ROWS", 100)
    many = await client.get(path)
    assert on_loop == [True, False]
    assert (many.status_code, many.content) == (200, few.content)
