"""Requests are remembered at their end and told to JetStream: each once, within bounds, and what is dropped is counted."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NotFoundError

from gateway.adapters import requests as adapter
from gateway.adapters.requests import RequestEvents
from gateway.app import create_app
from gateway.domain.request_batches import batch_of
from gateway.domain.request_buffer import BATCH, RECORD_BYTES, Lost, RequestBuffer
from gateway.domain.requests import CallerRecord, CallRecord, RequestRecord
from kalpi_local.servers import Nats
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from shared.metrics import Metrics
from shared.subjects import (
    MARKET_STREAM,
    USAGE_STREAM,
    USAGE_SUBJECT,
)
from shared.tasks import end_task
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.asgi import running
from tests.support.poll import until
from tests.support.principals import user

CALLER = user("pro").model_copy(update={"key_id": str(new_id())})
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
RECORD = RequestRecord(
    AT,
    CallerRecord(CALLER.tenant_id, CALLER.user_id, str(CALLER.key_id), "key", "pro", f"user:{CALLER.user_id}"),
    CallRecord("GET", "/api/v1/bars", "", "AAPL", 200, "hit"),
    900,
    1,
    12,
    "r",
)
NOBODY: dict[str, Any] = {"tenant_id": "", "user_id": "", "key_id": "", "session_kind": "none", "tier": "", "subject": ""}


def record(status: int = 200, **changes: Any) -> RequestRecord:
    """Changed wherever the change belongs."""
    changes["status"] = status
    of_caller, of_call = (
        {name: changes.pop(name) for name in part._fields if name in changes} for part in (RECORD.caller, RECORD.call)
    )
    return RECORD._replace(caller=RECORD.caller._replace(**of_caller), call=RECORD.call._replace(**of_call), **changes)


class Kept:
    """A buffer, and what it tells."""

    def __init__(self, most: int = 1000) -> None:
        self.full = 0
        self.dropped: list[RequestRecord] = []
        self.buffer = RequestBuffer(most, full_batch=self._note, on_drop=self.dropped.append)

    def _note(self) -> None:
        self.full += 1


# ----- batches


def test_a_batch_says_each_caller_and_each_kind_of_call_once() -> None:
    tenant = f"tenant:{CALLER.tenant_id}"
    other: dict[str, Any] = {"user_id": str(new_id()), "key_id": "", "session_kind": "session", "subject": tenant}
    records = [record(), record(429, units=0), record(**other), record(401, units=0, **NOBODY), record()]
    batch = batch_of(records, Lost(3, 2))
    assert batch["lost"] == [3, 2]
    assert batch["caller"] == [0, 0, 1, 2, 0]
    assert batch["call"] == [0, 1, 0, 2, 0]
    assert batch["callers"] == [
        (CALLER.tenant_id, CALLER.user_id, CALLER.key_id, "key", "pro", f"user:{CALLER.user_id}"),
        (CALLER.tenant_id, other["user_id"], "", "session", "pro", tenant),
        ("", "", "", "none", "", ""),
    ]
    assert batch["calls"][:2] == [("GET", "/api/v1/bars/{symbol}", "", "AAPL", status, "hit") for status in (200, 429)]
    assert (batch["units"], batch["latency_us"][0]) == ([1, 0, 1, 0, 1], 900)
    assert batch["at"][0] == 1_767_323_045_678


@pytest.mark.parametrize(
    ("changes", "call"),
    [
        ({"route": "/api/v1/indicators", "indicator": "rsi"}, ("GET", "/api/v1/indicators/{name}", "rsi", "AAPL")),
        ({"route": "/api/v1/indicators", "symbol": ""}, ("GET", "/api/v1/indicators", "", "")),
        ({"route": "/api/v1/patterns"}, ("GET", "/api/v1/patterns/{symbol}", "", "AAPL")),
        ({"method": "BREW"}, ("OTHER", "/api/v1/bars/{symbol}", "", "AAPL")),
    ],
)
def test_an_endpoint_is_named_as_the_public_document_does(changes: dict[str, Any], call: tuple[str, ...]) -> None:
    assert batch_of([record(200, **changes)], Lost())["calls"][0][:4] == call


def test_a_batch_of_the_longest_requests_fits_into_a_message() -> None:
    """1 MiB is what a NATS server takes."""
    records = [
        record(
            200,
            **dict.fromkeys(("tenant_id", "user_id", "key_id"), f"{number:036}"),
            subject=f"tenant:{number:036}",
            indicator=f"{number:064}",
            symbol=f"{number:032}",
            request_id=f"{number:0128}",
            **dict.fromkeys(("latency_us", "bytes_out", "units"), 10**9),
        )
        for number in range(BATCH)
    ]
    assert len(orjson.dumps(batch_of(records, Lost()))) < 400_000


# ----- the room


def test_records_are_taken_in_order_a_batch_at_a_time() -> None:
    kept = Kept(most=10 * BATCH)
    records = [record(request_id=str(number)) for number in range(2 * BATCH + 1)]
    for one in records:
        kept.buffer.add(one)
    assert kept.full == 2
    assert [*kept.buffer.take(), *kept.buffer.take(), *kept.buffer.take(), *kept.buffer.take()] == records


@given(most=st.integers(0, 40), asked=st.lists(st.tuples(st.sampled_from((200, 304, 404, 429, 500)), st.booleans())))
def test_whatever_comes_the_room_is_kept_to_and_nothing_is_lost_uncounted(most: int, asked: list[tuple[int, bool]]) -> None:
    kept = Kept(most)
    taken: list[RequestRecord] = []
    records = [record(status, request_id=str(number)) for number, (status, _) in enumerate(asked)]
    for one, (_, take) in zip(records, asked, strict=True):
        kept.buffer.add(one)
        assert len(kept.buffer) <= most
        if take:
            taken += kept.buffer.take()
    taken += kept.buffer.take()
    assert sorted(taken + kept.dropped) == sorted(records)
    assert kept.buffer.take_lost() == Lost(len(kept.dropped), len(kept.dropped))
    assert kept.buffer.take_lost() == Lost()


def test_when_it_is_full_refusals_and_errors_are_still_taken() -> None:
    kept = Kept(most=100)
    for status in [200] * 100 + [429] * 100:
        kept.buffer.add(record(status))
    assert [one.call.status for one in kept.buffer.take()] == [200] * 75 + [429] * 25
    for _ in range(75):
        kept.buffer.add(record())
    assert len(kept.buffer) == 75, "what was taken has left its room"


# ----- on the way


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """A NATS server that a test may stop."""
    server = Nats(tmp_path / "nats", "secret", durable=False)
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def events_on(url: str, *, most: int = 1000) -> AsyncIterator[tuple[RequestEvents, EventBus, Metrics]]:
    metrics = Metrics("test")
    async with EventBus(url, service="test", clock=system_clock, new_id=new_id) as bus:
        events = RequestEvents(bus, metrics, new_id, most_bytes=most * RECORD_BYTES, stream_bytes=1 << 20)
        await events.declare()
        yield events, bus, metrics


def figure(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"kalpi_gateway_request_events_{name}_total", labels) or 0.0


async def batches(bus: EventBus) -> list[dict[str, Any]]:
    """All that the stream holds, in order."""
    found = []
    last = (await bus.jetstream.stream_info(USAGE_STREAM)).state.last_seq
    for seq in range(1, last + 1):
        try:
            found.append(orjson.loads((await bus.jetstream.get_msg(USAGE_STREAM, seq)).data or b""))
        except NotFoundError:
            continue
    return found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_RETRY_S", 0.05)
    monkeypatch.setattr(adapter, "FLUSH_S", 0.2)


@asynccontextmanager
async def sending(events: RequestEvents) -> AsyncIterator[None]:
    task = asyncio.create_task(events.run())
    yield
    await end_task(task)


async def test_a_full_batch_goes_at_once_and_the_rest_in_its_time(server: Nats) -> None:
    async with events_on(server.url) as (events, bus, metrics), sending(events):
        for number in range(BATCH + 3):
            events.record(record(request_id=str(number)))

        async def all_there() -> bool:
            return sum(len(fact["data"]["at"]) for fact in await batches(bus)) == BATCH + 3

        await until(all_there, what="every event")
        assert [len(fact["data"]["at"]) for fact in await batches(bus)] == [BATCH, 3]
        assert figure(metrics, "sent") == BATCH + 3


async def test_what_is_left_at_the_end_is_sent_before_it(server: Nats) -> None:
    async with events_on(server.url) as (events, bus, metrics):
        for _ in range(7):
            events.record(record())
        await events.flush()
        assert [len(fact["data"]["at"]) for fact in await batches(bus)] == [7]
        assert figure(metrics, "dropped", outcome="served") == 0


@pytest.mark.usefixtures("hasty")
async def test_without_nats_events_wait_drops_are_counted_and_it_goes_on(server: Nats) -> None:
    """Stopped, and back with nothing: the stream is made again, and what waited is in it, with the number of what does not."""
    async with events_on(server.url, most=40) as (events, bus, metrics), sending(events):
        await server.stop()
        for number in range(100):
            events.record(record(429 if number % 10 == 0 else 200, request_id=str(number)))

        async def waits() -> bool:
            return events._away

        await until(waits, what="no acknowledgement")
        for number in range(100, 200):
            events.record(record(request_id=str(number)))
        dropped = {outcome: figure(metrics, "dropped", outcome=outcome) for outcome in ("served", "refused")}
        assert dropped["served"] > 100
        await asyncio.to_thread(shutil.rmtree, server.folder / "jetstream")
        await server.start()

        async def told() -> int:
            return sum(len(fact["data"]["at"]) for fact in await batches(bus)) if bus.connected else 0

        kept = 200 - int(sum(dropped.values()))

        async def all_told() -> bool:
            try:
                return await told() == kept
            except NotFoundError:
                return False

        await until(all_told, what="every event that was not dropped")
        events.record(record(request_id="after"))

        async def after_too() -> bool:
            return await told() == kept + 1

        await until(after_too, what="the next event")
        facts = await batches(bus)
        ids = [one for fact in facts for one in fact["data"]["request_id"]]
        assert len(set(ids)) == len(ids) == kept + 1, "none twice"
        assert sum(fact["data"]["lost"][0] for fact in facts) == sum(dropped.values())


@pytest.mark.usefixtures("hasty")
async def test_an_end_without_nats_is_not_held_up_and_counts_what_it_loses(server: Nats) -> None:
    async with events_on(server.url) as (events, _, metrics):
        await server.stop()
        for status in (200, 200, 503):
            events.record(record(status))
        await events.flush()
        assert (figure(metrics, "dropped", outcome="served"), figure(metrics, "dropped", outcome="refused")) == (2, 1)


@pytest.mark.usefixtures("hasty")
async def test_a_full_stream_refuses_and_the_drops_are_the_gateways_to_count(server: Nats) -> None:
    async with events_on(server.url, most=4000) as (events, bus, metrics), sending(events):
        await bus.streams.declare(USAGE_STREAM, [USAGE_SUBJECT], max_age_s=60, max_bytes=64 << 10, work_queue=True)
        for number in range(20_000):
            events.record(record(request_id=f"{number:064}"))
            if number % BATCH == 0:
                await asyncio.sleep(0.001)

        async def refused() -> bool:
            return events._away

        await until(refused, what="a stream without room")
        assert figure(metrics, "sent") > 0, "what it has, it keeps"
        state = (await bus.jetstream.stream_info(USAGE_STREAM)).state
        assert state.first_seq == 1
        assert figure(metrics, "dropped", outcome="served") > 0


# ----- at the edge


@pytest.fixture
def prompt() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "EVERY_S", 0.01)
        yield


@pytest.mark.usefixtures("prompt", "redis")
async def test_each_kind_of_request_is_told_as_it_was(
    server: Nats, redis_url: str, origin: Origin, origin_url: str, market: Market
) -> None:
    key, person = origin.new_person("tiny")
    url = f"/api/v1/indicators/sma?symbol={market.symbol}"
    async with EventBus(server.url, service="test", clock=system_clock, new_id=new_id) as bus:
        await bus.streams.declare(
            MARKET_STREAM, ["kalpi.market.bars.v1.*"], max_age_s=0, max_bytes=1 << 20, max_msgs_per_subject=1
        )
        await bus.streams.declare("KALPI_AUTH", ["kalpi.auth.>"], max_age_s=3600, max_bytes=1 << 20)
        await bus.streams.declare("KALPI_LIMITS", ["kalpi.limits.>"], max_age_s=3600, max_bytes=1 << 20)
        async with running(create_app(settings_for(origin_url, redis_url, server.url))) as client:
            answers = [await client.get(url, headers=key) for _ in range(5)]
            caches = [answer.headers.get("X-Cache", "none").lower() for answer in answers]
            statuses = [answer.status_code for answer in answers]
            statuses.append((await client.get("/api/v1/usage", headers=key)).status_code)
            statuses.append((await client.get("/api/v1/usage")).status_code)
            assert statuses == [200, 200, 200, 429, 429, 200, 401]
            size = len((await client.get("/api/v1/usage", headers=key)).content)
        # the app has ended: what was left is sent
        facts = [fact["data"] for fact in await batches(bus)]
    rows = [
        (*fact["callers"][caller][1:4], *fact["calls"][call], units)
        for fact in facts
        for caller, call, units in zip(fact["caller"], fact["call"], fact["units"], strict=True)
    ]
    whom = (person["user_id"], person["key_id"], "key")
    what = ("GET", "/api/v1/indicators/{name}", "sma", market.symbol)
    assert rows == [
        *[(*whom, *what, 200, cache, 1) for cache in caches[:3]],
        *[(*whom, *what, 429, cache, 0) for cache in caches[3:]],
        (*whom, "GET", "/api/v1/usage", "", "", 200, "none", 0),
        ("", "", "none", "GET", "/api/v1/usage", "", "", 401, "none", 0),
        (*whom, "GET", "/api/v1/usage", "", "", 200, "none", 0),
    ]
    assert facts[-1]["bytes_out"][-1] == size
