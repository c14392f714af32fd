"""Any one process may be killed: the others answer, and the supervisor has it back."""

import os
import signal

import httpx
import pytest

from tests.support.clients import get_patiently
from tests.support.poll import until
from tests.support.stack import Stack

NEEDS = {
    "auth-service": "/api/v1/auth/me",
    "data-service": "/api/v1/bars/AAPL?limit=3",
    "indicator-service": "/api/v1/indicators/rsi?symbol=AAPL&limit=3",
    "ratelimit-service": "/api/v1/usage",
}


def pid_of(stack: Stack, service: str) -> int:
    pid: int = stack.state["services"][service]["pid"]
    return pid


async def test_every_service_killed_is_a_503_meanwhile_and_comes_back(client: httpx.AsyncClient, stack: Stack) -> None:
    for service, path in NEEDS.items():
        await _kill_and_watch(client, stack, service, path)


async def _kill_and_watch(client: httpx.AsyncClient, stack: Stack, service: str, path: str) -> None:
    key = stack.key("enterprise")
    # an entry of the response cache would go on answering, rightly: each request here asks for something new
    asked = 0

    async def ask() -> httpx.Response:
        nonlocal asked
        asked += 1
        separator = "&" if "?" in path else "?"
        fresh = f"{separator}end_date=2012-{asked % 12 + 1:02d}-{asked // 12 % 28 + 1:02d}" if "limit" in path else ""
        return await client.get(path + fresh, headers=key, timeout=5)

    assert (await ask()).status_code == 200
    killed = pid_of(stack, service)
    os.kill(killed, signal.SIGKILL)

    async def away() -> httpx.Response | None:
        answer = await ask()
        return answer if answer.status_code == 503 else None

    refused = await until(away, seconds=10, every_s=0.1, what=f"{service} away")
    assert refused is not None
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1

    async def back() -> bool:
        answer = await ask()
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    await until(back, seconds=60, every_s=0.1, what=f"{service} back")
    assert pid_of(stack, service) != killed


async def test_a_killed_gateway_comes_back(client: httpx.AsyncClient, stack: Stack) -> None:
    killed = pid_of(stack, "gateway")
    os.kill(killed, signal.SIGKILL)

    async def back() -> bool:
        try:
            answer = await get_patiently(client, "/api/v1/indicators/rsi?symbol=AAPL", stack.key("enterprise"))
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    await until(back, seconds=60, what="the gateway back")
    assert pid_of(stack, "gateway") != killed


@pytest.mark.parametrize("server", ["postgres", "valkey", "nats"])
async def test_a_killed_server_comes_back_with_its_data(client: httpx.AsyncClient, stack: Stack, server: str) -> None:
    key = stack.key("pro")
    before = (await client.get("/api/v1/symbols", headers=key)).headers["ratelimit"]
    killed = stack.state["servers"][server]["pid"]
    os.kill(killed, signal.SIGKILL)

    async def back() -> bool:
        if stack.state["servers"][server]["pid"] == killed:
            return False
        health = await client.get("/health")
        return bool(health.json()["status"] == "ok")

    await until(back, seconds=60, what=f"{server} back")
    after = (await client.get("/api/v1/symbols", headers=key)).headers["ratelimit"]
    assert _left_today(after) == _left_today(before) - 1


def _left_today(field: str) -> int:
    return int(field.partition('"day";r=')[2].partition(";")[0])
