"""The limit is one limit, however many gateways enforce it, and however they end."""

import asyncio
import os
import signal
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import aiohttp
import httpx
import pytest

from shared.limits.limiter import Limiter
from shared.scripts import ScriptConnection
from shared.store import open_store
from tests.machine.conftest import Machine
from tests.support.poll import until
from tests.support.stack import Stack

LIMIT, REQUESTS = 500, 10_000
"""Of an enterprise user of the machine, a day."""
LARGE, LEFT = 50_000, 8_000
"""Of a premium user, who has used all but so much of it."""
AT_ONCE = 256
SMA = "/api/v1/indicators/sma?symbol=AAPL&limit=5"
BROKEN = (0, ())
"""Whoever was asked died before it could answer."""

Answer = tuple[int, tuple[str, ...]]


def gateways_of(stack: Stack) -> list[str]:
    return [name for name in stack.state["services"] if name.startswith("gateway")]


async def ask(session: aiohttp.ClientSession, url: str) -> Answer | None:
    """None where a busy machine's gateway says "not now", before it has counted anything."""
    try:
        async with session.get(url) as answer:
            body = await answer.json(content_type=None)
            return None if answer.status == 503 else (answer.status, tuple(body.get("violated-policies", ())))
    except aiohttp.ClientError:
        return BROKEN


async def ask_all(stack: Stack, tier: str, requests: int) -> Counter[Answer]:
    """So many, `AT_ONCE` under way at a time; each is asked until it is answered."""
    url, left, answers = f"{stack.url}{SMA}", iter(range(requests)), Counter[Answer]()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=stack.key(tier)) as session:
        session._retry_connection = False  # what broke off was perhaps admitted: it is not asked again unseen

        async def worker() -> None:
            for _ in left:
                answer = None
                while answer is None:
                    answer = await ask(session, url)
                answers[answer] += 1

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return answers


@pytest.mark.timeout(240)
async def test_ten_thousand_in_parallel_through_three_gateways_admit_exactly_the_limit(machine: Machine) -> None:
    stack = machine.up()
    gateways = gateways_of(stack)
    assert len(gateways) == 3
    answers = await ask_all(stack, "enterprise", REQUESTS)
    assert answers == {(200, ()): LIMIT, (429, ("day",)): REQUESTS - LIMIT}
    for name in gateways:
        assert '"status":200' in (stack.home / "logs" / f"{name}.log").read_text(), f"{name} took part"


@pytest.mark.timeout(240)
async def test_a_gateway_killed_with_a_lease_admits_no_more_and_what_it_lost_is_told(machine: Machine) -> None:
    stack = machine.up()
    urls = stack.state["urls"]
    async with ScriptConnection(urls["valkey"]) as scripts:
        subject = f"user:{(await usage_of(stack))['user_id']}"
        await Limiter(scripts).raise_to(subject, datetime.now(UTC).date(), LARGE - LEFT)
    killed = asyncio.create_task(kill_one_that_leases(urls["valkey"], subject))
    answers = await ask_all(stack, "premium", LEFT + 1000)
    name, held = await killed
    admitted, broken = answers[200, ()], answers[BROKEN]
    assert admitted <= LEFT, "never more"
    assert answers[429, ("day",)], "it was drained"

    async def told() -> int:
        log = (stack.home / "logs" / "ratelimit-service.log").read_text()
        return sum(int(line.partition('"units":')[2].split("}")[0].split(",")[0]) for line in log.splitlines() if name in line)

    async def all_told() -> bool:
        return await told() == held

    await until(all_told, seconds=30, every_s=0.2, what="what was lost")
    assert LEFT - admitted <= held + broken, "what nobody was admitted for was lost, or broke off with its gateway"
    assert (await usage_of(stack))["policies"][0]["remaining"] == 0, "it drains to exactly the limit"


async def usage_of(stack: Stack) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as client:
        document: dict[str, Any] = (await client.get("/api/v1/usage", headers=stack.key("premium"))).json()
        return document


async def kill_one_that_leases(redis_url: str, subject: str) -> tuple[str, int]:
    """The name of the gateway that was killed while it had a lease, and how many units it had not given back."""
    async with open_store(redis_url) as redis:

        async def records() -> list[str]:
            found = await redis.zrange("limits:leases", 0, -1, desc=True)
            return [record.decode() for record in found if isinstance(record, bytes) and record.endswith(subject.encode())]

        async def leasing() -> str:
            return next(iter(await records()), "").partition("/")[0]

        name = await until(leasing, seconds=30, every_s=0.001, what="a lease")
        os.kill(int(name.split(".")[-2]), signal.SIGKILL)
        return name, sum(int(record.split(" ")[2]) for record in await records() if record.startswith(name))
