"""What becomes of requests when an instance misbehaves, on real sockets: the right problem, in time, nothing held."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.app import create_app
from shared.events import EventBus
from tests.gateway.conftest import Origin, settings_for
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.raw_server import Handler, saying

BARS = "/api/v1/bars/A"
OTHERS = "/api/v1/indicators"
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"
CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"


@dataclass
class Gateway:
    app: FastAPI
    client: httpx.AsyncClient
    asked: Iterator[int] = field(default_factory=itertools.count)

    async def bars(self, headers: Mapping[str, str]) -> httpx.Response:
        """Of nobody else's request at the same time, which one request to the service would answer too."""
        return await self.client.get(f"{BARS}?offset={next(self.asked)}", headers=headers)

    def sample(self, name: str, **labels: str) -> float:
        """Of all series that carry these labels, the sum."""
        found = self.app.state.shell.metrics.registry.collect()
        samples = (sample for metric in found for sample in metric.samples if sample.name == f"kalpi_gateway_{name}")
        return sum(float(one.value) for one in samples if labels.items() <= one.labels.items())

    async def idle(self) -> None:
        async def free() -> bool:
            return self.sample("upstream_under_way") == 0

        await until(free, what="every slot was given back")


Fronting = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def fronting(origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str) -> Fronting:
    """A gateway on a real socket whose data-service is at other addresses; all other services are the origin."""

    @asynccontextmanager
    async def front(data_urls: Sequence[str], timeout_s: float = 20.0, **changes: Any) -> AsyncIterator[Gateway]:
        settings = settings_for(
            origin_url, redis_url, nats_url, data_urls=tuple(data_urls), upstream_timeout_s=timeout_s, **changes
        )
        app = create_app(settings)
        async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield Gateway(app, client)

    return front


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    pass


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


def says(what: bytes) -> Handler:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(what)
        await writer.drain()
        await reader.read(1)

    return say


def drips(what: bytes, at_once: int = 0) -> Handler:
    """A byte each 50 ms, after the first so many."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(what[:at_once])
        for byte in what[at_once:]:
            await asyncio.sleep(0.05)
            writer.write(bytes([byte]))
            await writer.drain()

    return drip


BEFORE_AN_ANSWER: dict[str, tuple[Handler, str, int]] = {
    # how often it is asked: a reset, or what cannot be understood, once more; never when the time is over
    "resets": (reset, "reset", 2),
    "closes": (close, "reset", 2),
    "never answers": (silent, "timeout", 1),
    "sends a header byte by byte": (drips(OK), "timeout", 1),
    "sends half a header": (says(OK[:20]), "timeout", 1),
    "speaks no HTTP": (says(b"\x16\x03\x01garbage\r\n\r\n"), "malformed", 2),
    "sends two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "malformed", 2),
    "sends a field of 64 KiB": (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65_536 + b"\r\n\r\n"), "malformed", 2),
    "sends 10,000 fields": (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"), "malformed", 2),
    "changes the protocol": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
        "malformed",
        2,
    ),
}


@pytest.mark.parametrize("fault", BEFORE_AN_ANSWER)
async def test_an_instance_that_gives_no_answer_is_a_503_in_time_and_leaves_nothing_behind(
    fronting: Fronting, origin: Origin, fault: str
) -> None:
    handler, kind, asked = BEFORE_AN_ANSWER[fault]
    headers, _ = origin.new_person("tiny")
    async with saying(handler) as bad, fronting([bad.url], timeout_s=1.0 if kind == "timeout" else 10.0) as gateway:
        for number in (1, 2):
            answer = await asyncio.wait_for(gateway.bars(headers), 20)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:kalpi:problem:unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert bad.url.rpartition(":")[2] not in answer.text, "a client learns no address"
            assert bad.requests == number * asked
        await gateway.idle()
        assert gateway.sample("upstream_failures_total", service="data-service", kind=kind) == 2 * asked
        assert (await gateway.client.get(OTHERS, headers=headers)).status_code == 200
        # a POST may have changed something: never again
        await gateway.client.post(BARS, headers=headers)
        assert bad.requests == 2 * asked + 1


async def test_an_instance_that_refuses_is_a_503_and_another_is_asked_in_its_place(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with fronting([gone]) as gateway:
            answer = await gateway.bars(headers)
            assert (answer.status_code, answer.json()["detail"]) == (503, "data-service cannot be reached")
        async with saying(says(OK)) as good, fronting([gone, good.url]) as gateway:
            answers = [await gateway.client.post(BARS, headers=headers) for _ in range(12)]
            assert [answer.status_code for answer in answers] == [200] * 12, "it has seen nothing: a POST too"
            assert good.requests == 12
            assert gateway.sample("retries_total") == 0, "that is no retry"
            refused = gateway.sample("upstream_failures_total", kind="refused")
            assert 5 <= refused < 12, "its breaker opened"
            await gateway.idle()


async def half_and_no_more(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HALF)
    await writer.drain()


IN_THE_MIDDLE: dict[str, Handler] = {
    "dies": half_and_no_more,
    "is silent": says(HALF),
    "sends a byte now and then": drips(HALF + bytes(996), at_once=len(HALF)),
    "sends a bad chunk": drips(CHUNK + b"nonsense\r\n", at_once=len(CHUNK)),
}


@pytest.mark.parametrize("fault", IN_THE_MIDDLE)
async def test_an_answer_that_breaks_off_is_broken_off_for_the_client_too(fronting: Fronting, origin: Origin, fault: str) -> None:
    headers, _ = origin.new_person("tiny")
    async with saying(IN_THE_MIDDLE[fault]) as bad, fronting([bad.url], timeout_s=1.0) as gateway:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await asyncio.wait_for(gateway.bars(headers), 20)
        assert bad.requests == 2, "what the client has begun to receive is not asked for again"
        await gateway.idle()
        assert gateway.sample("upstream_failures_total", kind="broken") == 2
        assert (await gateway.client.get(OTHERS, headers=headers)).status_code == 200


async def test_a_request_that_an_instance_drops_is_answered_by_another(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    async with saying(reset) as bad, saying(says(OK)) as good, fronting([bad.url, good.url]) as gateway:
        answers = [await gateway.bars(headers) for _ in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20
        assert good.requests == 20
        assert gateway.sample("retries_total", outcome="sent") == bad.requests
        assert gateway.sample("breaker_state", instance=urlsplit(bad.url).netloc) >= 1
        await gateway.idle()


async def test_no_more_is_sent_again_than_the_budget_allows(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    turn = 0

    async def one_of_three_is_dropped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        await (reset if turn % 3 == 0 else says(OK))(reader, writer)

    started, count = time.monotonic(), 120
    async with saying(one_of_three_is_dropped) as flaky, fronting([flaky.url]) as gateway:
        statuses = [(await gateway.bars(headers)).status_code for _ in range(count)]
        sent, refused = (gateway.sample("retries_total", outcome=outcome) for outcome in ("sent", "refused"))
        assert flaky.requests == count + sent
        assert sent <= 10 + count * 0.1 + (time.monotonic() - started)
        assert statuses.count(503) == refused > 0
        assert statuses.count(200) == count - refused
        assert gateway.sample("breaker_state") == 0, "most of what it is asked it answers"


async def test_a_breaker_answers_for_an_instance_that_hangs_and_lets_it_back_by_itself(
    fronting: Fronting, origin: Origin
) -> None:
    headers, _ = origin.new_person("wide")
    well = False

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (says(OK) if well else silent)(reader, writer)

    async with saying(hangs) as bad, fronting([bad.url], timeout_s=1.0) as gateway:
        assert (await gateway.client.get(OTHERS, headers=headers)).status_code == 200
        await asyncio.gather(*(gateway.bars(headers) for _ in range(5)))
        assert gateway.sample("breaker_state", service="data-service") >= 1
        asked = bad.requests
        answers = [await gateway.bars(headers) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {503}
        assert bad.requests - asked < 20, "it is left alone"
        well = True

        async def back() -> bool:
            return (await gateway.bars(headers)).status_code == 200

        await until(back, what="the instance is asked again")
        assert gateway.sample("breaker_state", service="data-service") == 0


async def test_a_slow_service_holds_nobody_else(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    async with saying(drips(OK.replace(b"th: 2", b"th: 1000"))) as slow, fronting([slow.url]) as gateway:
        waiting = [asyncio.create_task(gateway.bars(headers)) for _ in range(30)]

        async def all_wait() -> bool:
            return slow.requests == len(waiting)

        await until(all_wait)
        for _ in range(20):
            assert (await gateway.client.get(OTHERS, headers=headers)).status_code == 200
        assert not any(task.done() for task in waiting), "meanwhile"
        for task in waiting:
            task.cancel()
        await gateway.idle()


async def test_clients_that_go_away_leave_no_slot_taken(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    async with saying(silent) as hung, fronting([hung.url]) as gateway:
        wave = [asyncio.create_task(gateway.bars(headers)) for _ in range(20)]

        async def all_wait() -> bool:
            return hung.requests == 20

        await until(all_wait)
        assert gateway.sample("upstream_under_way", service="data-service") == 20
        for task in wave:
            task.cancel()
        await gateway.idle()


async def test_what_belongs_to_one_hop_does_not_reach_the_client(fronting: Fronting, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    answer = b"\r\n".join(
        [
            b"HTTP/1.1 200 OK",
            b"Connection: X-Hop, close",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Upgrade: h2c",
            b"Trailer: X-Late",
            b"TE: trailers",
            b"Server: secret/1.0",
            b"Transfer-Encoding: chunked",
            b"X-End-To-End: 1",
            b"",
            b"2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n",
        ]
    )
    async with saying(says(answer)) as service, fronting([service.url]) as gateway:
        seen = await gateway.bars(headers)
    assert (seen.status_code, seen.content) == (200, b"{}")
    assert seen.headers["x-end-to-end"] == "1"
    hop = {"x-hop", "keep-alive", "proxy-connection", "upgrade", "trailer", "te", "server", "x-late"}
    assert not hop & set(seen.headers)
    assert seen.headers.get("connection") in (None, "keep-alive")


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", 404, b"{}"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"." * 300_000, 200, b"." * 300_000),
    ],
    ids=["chunked", "with a length", "empty", "without a body", "without the body it speaks of", "long"],
)
async def test_a_client_is_told_where_an_answer_ends_and_may_ask_again(
    fronting: Fronting, origin: Origin, answer: bytes, status: int, body: bytes
) -> None:
    headers, _ = origin.new_person("wide")
    async with saying(says(answer)) as service, fronting([service.url]) as gateway:
        for _ in range(2):
            seen = await gateway.bars(headers)
            assert (seen.status_code, seen.content) == (status, body)
            assert seen.headers.get("content-length") == (str(len(body)) if status != 204 else None)
        head = await gateway.client.head(BARS, headers=headers)
        assert (head.status_code, head.content) == (status, b"")
        assert (await gateway.client.get(OTHERS, headers=headers)).status_code == 200


async def test_a_trace_is_handed_on_where_nothing_is_exported(fronting: Fronting, origin: Origin, origin_url: str) -> None:
    headers, _ = origin.new_person("wide")
    trace, seen = "0af7651916cd43dd8448eb211c80319c", list[str]()

    async def note(request: Request) -> Response:
        seen.append(request.headers["traceparent"])
        return JSONResponse({})

    origin.answer = note
    async with fronting([origin_url]) as gateway:
        for parent in (f"00-{trace}-b7ad6b7169203331-01", None):
            sent = {**headers, "traceparent": parent} if parent else headers
            await gateway.client.get(OTHERS, headers=sent)
    assert seen[0].split("-")[1] == trace
    assert seen[0].split("-")[2] != "b7ad6b7169203331"
    assert seen[1].split("-")[1] != trace


async def test_a_service_learns_how_long_it_may_take(fronting: Fronting, origin: Origin, origin_url: str) -> None:
    headers, _ = origin.new_person("wide")
    told: list[int] = []

    async def note(request: Request) -> Response:
        told.append(int(request.headers["x-kalpi-deadline-ms"]))
        return JSONResponse({})

    origin.answer = note
    async with fronting([origin_url], timeout_s=2.0) as gateway:
        await gateway.client.get(BARS, headers={**headers, "X-Kalpi-Deadline-Ms": "999999"})
        await gateway.client.get("/api/v1/patterns/A", headers=headers)
    assert 0 < told[0] <= 2_000
    assert 2_000 < told[1] <= 30_000, "its route says so"


async def test_a_flood_of_one_tenant_leaves_room_and_those_who_do_not_pay_are_turned_away_first(
    fronting: Fronting, origin: Origin, redis: Redis
) -> None:
    """Room for 8 at the service, 2 of them kept for those who pay; `tiny` is the lowest tier of the plan file here."""
    flooding, _ = origin.new_person("many")
    go_on = asyncio.Event()

    async def when_told(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OK)
        await writer.drain()

    rooms = {"forwarded_at_once_per_service": 8, "kept_for_paid": 0.25}
    async with saying(when_told) as service, fronting([service.url], timeout_s=30, **rooms) as gateway:
        tasks = [asyncio.create_task(gateway.bars(flooding)) for _ in range(10)]

        async def shed() -> bool:
            return gateway.sample("shed_total", caller="paid") == 6 and service.requests == 4

        await until(shed)

        async def under_way(count: int) -> None:
            async def are() -> bool:
                return service.requests == count

            await until(are)

        for others in range(2):  # each a tenant of its own
            headers, _ = origin.new_person("tiny")
            tasks.append(asyncio.create_task(gateway.bars(headers)))
            await under_way(5 + others)
        free, poor = origin.new_person("tiny")
        refused = await gateway.bars(free)
        problem = refused.json()
        assert (refused.status_code, problem["type"], problem["title"]) == (503, "urn:kalpi:problem:overloaded", "Too busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert gateway.sample("shed_total", service="data-service", caller="free") == 1
        payer, _ = origin.new_person("wide")
        tasks.append(asyncio.create_task(gateway.bars(payer)))
        await under_way(7)
        assert (await gateway.client.get(OTHERS, headers=free)).status_code == 200, "another service has room of its own"
        assert (await gateway.client.get("/health/live")).status_code == 200
        go_on.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*tasks)]
        assert (statuses.count(200), statuses.count(503)) == (7, 6)
        await gateway.idle()
    assert not await redis.exists(f"limits:day:user:{poor['user_id']}"), "who comes when it is full pays nothing"
