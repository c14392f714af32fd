"""Answers from the cache that are given at once: the same as the long way gives them, and only where it would give them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from fastapi import FastAPI
from redis.asyncio import Redis

from gateway.app import create_app
from shared.at_once import AtOnce, Peer, Soon, Turn
from shared.clock import system_clock
from shared.events import EventBus
from shared.heads import Head
from shared.ids import new_id
from shared.subjects import auth_subject
from tests.gateway.conftest import Market, Origin, settings_for
from tests.support.http_server import serving
from tests.support.poll import until


@dataclass
class Served:
    """A gateway on a socket; `at_once` are the answers that were given so, or by one question to the counters."""

    app: FastAPI
    client: httpx.AsyncClient
    path: str
    at_once: list[AtOnce | Soon] = field(default_factory=list)

    async def get(self, headers: dict[str, str], path: str = "") -> tuple[httpx.Response, bool]:
        """The answer, and whether it was given at once."""
        before = len(self.at_once)
        answer = await self.client.get(path or self.path, headers=headers)
        return answer, len(self.at_once) > before

    async def kept(self, headers: dict[str, str], path: str = "") -> None:
        """Once the answer is, whom these credentials stand for is known, and so are the bytes that ask for it."""

        async def given() -> bool:
            answer, at_once = await self.get(headers, path)
            return at_once and answer.headers["x-cache"] == "HIT"

        await until(given, what="an answer at once")
        assert await given()


@asynccontextmanager
async def watched(app: FastAPI, market: Market) -> AsyncIterator[Served]:
    answer_at_once = app.state.at_once

    def noted(head: Head, peer: Peer, turn: Turn) -> AtOnce | Soon | None:
        answer: AtOnce | Soon | None = answer_at_once(head, peer, turn)
        if answer is not None:
            found.at_once.append(answer)
        return answer

    app.state.at_once = noted
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        found = Served(app, client, f"/api/v1/indicators/sma?symbol={market.symbol}")
        yield found


@pytest.fixture
async def served(
    redis: Redis, bus: EventBus, market: Market, origin_url: str, redis_url: str, nats_url: str
) -> AsyncIterator[Served]:
    async with watched(create_app(settings_for(origin_url, redis_url, nats_url, hsts_s=600)), market) as found:
        yield found


@pytest.mark.parametrize(
    "sent",
    [{}, {"X-Request-ID": "mine"}, {"X-Request-ID": "not sane"}, {"If-None-Match": '"v1"'}, {"If-None-Match": '"other"'}],
    ids=str,
)
async def test_it_is_the_answer_of_the_long_way(served: Served, origin: Origin, sent: dict[str, str]) -> None:
    headers, _ = origin.new_person("wide")
    await served.kept(headers)
    quick, at_once = await served.get({**headers, **sent})
    # one that closes its connection goes the long way
    slow, by_the_long_way = await served.get({**headers, **sent, "Connection": "close"})
    assert (at_once, by_the_long_way) == (True, False)
    assert (quick.status_code, quick.content) == (slow.status_code, slow.content)
    told, told_slowly = (dict(answer.headers.multi_items()) for answer in (quick, slow))
    assert told_slowly.pop("connection") == "close"
    if sent.get("X-Request-ID") != "mine":
        assert told.pop("x-request-id") != told_slowly.pop("x-request-id")
    assert told == told_slowly
    assert (told["x-cache"], told["x-content-type-options"]) == ("HIT", "nosniff")
    assert told["strict-transport-security"] == "max-age=600; includeSubDomains"
    assert sorted(name for name, _ in quick.headers.multi_items()) == sorted(quick.headers), "no field twice"


def without_times(told: dict[str, str]) -> dict[str, str]:
    """The numbers of `RateLimit` change from one moment to the next."""
    return {name: value for name, value in told.items() if name not in {"x-request-id", "ratelimit", "retry-after"}}


async def test_who_has_no_lease_is_answered_and_refused_as_by_the_long_way(served: Served, origin: Origin) -> None:
    other, _ = origin.new_person("wide")
    await served.kept(other)
    headers, _ = origin.new_person("many")
    told: dict[tuple[int, bool], httpx.Response] = {}
    closing = {**headers, "Connection": "close"}

    async def seen_both_ways() -> bool:
        for sent in (headers, closing):
            answer, at_once = await served.get(sent)
            told[answer.status_code, at_once] = answer
        return told.keys() >= {(429, True), (429, False)}

    await until(seen_both_ways, what="the end of the quota")
    assert told.keys() >= {(200, True)}
    quick, slow = told[429, True], told[429, False]
    assert without_times(dict(quick.headers)) | {"connection": "close"} == without_times(dict(slow.headers))
    assert "ratelimit" in quick.headers
    documents = [answer.json() for answer in (quick, slow)]
    assert [document.pop("request_id") for document in documents] == [a.headers["x-request-id"] for a in (quick, slow)]
    assert documents[0] == documents[1]


async def test_a_key_and_a_bearer_are_recognised_each_for_itself(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    bearer = {"Authorization": f"Bearer {headers['X-API-Key']}"}
    await served.kept(headers)
    await served.kept(bearer)
    for odd in ({"X-API-Key": bearer["Authorization"]}, {"Authorization": headers["X-API-Key"]}, {**headers, **bearer}):
        answer, at_once = await served.get(odd)
        assert (answer.status_code, at_once) == (401, False)


async def test_a_revoked_key_is_not_answered_from_what_was_kept(served: Served, origin: Origin, bus: EventBus) -> None:
    headers, person = origin.new_person("wide")
    await served.kept(headers)
    origin.people.clear()

    async def refused() -> bool:
        await bus.publish(auth_subject("key", "revoked"), {"user_id": person["user_id"], "key_id": person["key_id"]})
        return (await served.get(headers))[0].status_code == 401

    await until(refused, seconds=5, what="the revocation")


async def test_a_key_is_not_answered_beyond_its_end(served: Served, origin: Origin) -> None:
    ends = system_clock() + timedelta(seconds=3)
    headers, _ = origin.new_person("wide", expires_at=ends.isoformat())
    await served.kept(headers)
    origin.people.clear()

    async def refused() -> bool:
        answer, at_once = await served.get(headers)
        assert not at_once or system_clock() < ends + timedelta(seconds=1)
        return answer.status_code == 401

    await until(refused, what="the end of the key")
    assert system_clock() >= ends


@pytest.mark.parametrize(
    ("changes", "status"), [({"scopes": ["bars:read"]}, 403), ({"allowed_ips": ["192.0.2.0/24"]}, 403), ({}, 200)], ids=str
)
async def test_a_key_is_held_to_its_scopes_and_addresses(
    served: Served, origin: Origin, changes: dict[str, Any], status: int
) -> None:
    known, _ = origin.new_person("wide")
    await served.kept(known)
    headers, _ = origin.new_person("wide", **changes)
    seen = [await served.get(headers) for _ in range(3)]
    assert [answer.status_code for answer, _ in seen] == [status] * 3
    assert [at_once for _, at_once in seen] == [False, status == 200, status == 200], "not before it is known"


async def test_a_key_that_is_bound_to_this_address_is_answered_at_once(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide", allowed_ips=["127.0.0.1/32"])
    await served.kept(headers)
    assert (await served.get({**headers, "X-Forwarded-For": "192.0.2.1"}))[1], "of no trusted proxy"


async def test_what_is_not_plain_goes_the_long_way(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide", allowed_origins=["https://page.example"])
    await served.kept(headers)
    for odd, status in (({"Origin": "https://page.example"}, 403), ({"Content-Length": "0"}, 200)):
        answer, at_once = await served.get({**headers, **odd})
        assert (answer.status_code, at_once) == (status, False)
    head = await served.client.head(served.path, headers=headers)
    assert (head.status_code, head.content, head.headers["x-cache"]) == (200, b"", "HIT")
    assert (await served.client.post(served.path, headers=headers)).status_code == 200
    assert not (await served.get(headers, f"{served.path}&explain=true"))[1]
    assert (await served.get(headers, f"{served.path}&n={'1' * 2000}"))[0].headers["x-cache"] == "MISS"


async def test_a_body_is_no_part_of_a_read(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.kept(headers)
    answer = await served.client.request("GET", served.path, headers=headers, content=b"x")
    assert answer.status_code == 413


async def test_a_limited_caller_pays_for_each(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("many")
    answers = [(await served.get(headers))[0] for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2
    assert answers[9].headers["ratelimit"].startswith('"day";r=0;')


async def test_after_a_market_fact_no_old_byte_is_given(served: Served, origin: Origin, market: Market) -> None:
    headers, _ = origin.new_person("wide")
    await served.kept(headers)
    await market.announce("v2")

    async def new() -> bool:
        return bool((await served.get(headers))[0].json()["version"] == "v2")

    await until(new, what="the new version")
    for _ in range(5):
        answer, _at_once = await served.get(headers)
        assert answer.json()["version"] == "v2"


async def test_a_head_that_was_known_is_not_answered_by_routes_that_are_no_more(
    origin: Origin, market: Market, bus: EventBus, redis: Redis, origin_url: str, redis_url: str, nats_url: str, tmp_path: Path
) -> None:
    shipped = yaml.safe_load(files("gateway").joinpath("routes.yaml").read_text())
    path = tmp_path / "routes.yaml"
    path.write_text(yaml.safe_dump(shipped))
    headers, _ = origin.new_person("wide")
    app = create_app(settings_for(origin_url, redis_url, nats_url, routes_path=path, routes_look_s=0.02))
    async with watched(app, market) as served:
        await served.kept(headers)
        shipped["routes"] = [rule for rule in shipped["routes"] if not rule["path"].startswith("/api/v1/indicators")]
        path.write_text(yaml.safe_dump(shipped))

        async def unknown() -> bool:
            return (await served.get(headers))[0].status_code == 404

        await until(unknown, seconds=5, what="the other routes, before it is asked again who that is")


async def test_many_requests_at_once_on_one_connection_are_answered_in_order(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.kept(headers)
    address = urlsplit(str(served.client.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    key = headers["X-API-Key"]
    # every third is a miss, which the next ones have to wait for
    targets = [served.path if number % 3 else f"/api/v1/bars/{new_id().hex}" for number in range(30)]
    for number, target in enumerate(targets):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nX-Request-ID: {number}\r\n\r\n".encode())
    for number in range(len(targets)):
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().lower()
        assert f"x-request-id: {number}\r\n" in head
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        json.loads(await reader.readexactly(length))
    writer.close()


async def test_hits_are_counted_as_every_request(served: Served, origin: Origin) -> None:
    headers, _ = origin.new_person("wide")
    await served.kept(headers)
    registry = served.app.state.shell.metrics.registry

    def counted() -> list[float]:
        labels = {"service": "gateway", "method": "GET", "route": "/api/v1/indicators", "status": "200"}
        return [
            registry.get_sample_value("kalpi_http_requests_total", labels) or 0,
            registry.get_sample_value("kalpi_gateway_cache_requests_total", {"result": "hit"}) or 0,
        ]

    before = counted()
    for _ in range(5):
        assert (await served.get(headers))[1]
    assert counted() == [count + 5 for count in before]


async def test_with_a_line_for_each_hit_every_answer_goes_the_long_way(origin_url: str, redis_url: str, nats_url: str) -> None:
    for changes, at_once in (({}, True), ({"log_hits": True}, False), ({"otlp_endpoint": "http://127.0.0.1:1"}, False)):
        app = create_app(settings_for(origin_url, redis_url, nats_url, **changes))
        assert hasattr(app.state, "at_once") == at_once
