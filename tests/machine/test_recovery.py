"""`kalpi up` is killed outright and started again: nothing was lost, and nothing is left over."""

import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any

import httpx

from kalpi_local.processes import Identity
from shared.clock import system_clock
from shared.events import EventBus
from shared.ids import new_id
from tests.e2e.test_live_bars import publish
from tests.machine.conftest import Machine
from tests.support.poll import until
from tests.support.stack import KALPI_UP, Stack, descendants, interrupt

SYMBOL = "RECOVERED"
CLOSE = 41.5


@dataclass(frozen=True)
class Used:
    """What a stack was like when it had been used for a while."""

    demo: str
    left_today: int
    new_key: dict[str, str]
    processes: set[Identity]


async def test_a_stack_killed_outright_goes_on_where_it_was(machine: Machine) -> None:
    first = machine.up()
    used = await use(first)
    await kill(first, used)
    second = machine.up(KALPI_UP)
    assert not [process for process in used.processes if process.alive()], "of the first run"
    assert without_port(second) == used.demo
    await check(second, used)
    processes, ports = everything(second), ports_of(second)
    assert len(ports) == 8
    assert interrupt(second) == 0, second.output()[-4000:]
    assert not [process for process in processes if process.alive()]
    assert not [port for port in ports if listens(port)]


async def use(stack: Stack) -> Used:
    """A new key, some of the day's quota, and a bar that came while it ran."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as client:
        made = await client.post("/api/v1/auth/api-keys", json={"name": "test"}, headers=stack.key("pro"))
        assert made.status_code == 201, made.text
        new_key = {"X-API-Key": made.json()["api_key"]}
        async with EventBus(stack.state["urls"]["nats"], service="test-feed", clock=system_clock, new_id=new_id) as bus:
            await publish(bus, SYMBOL, 0, CLOSE)
        await until(lambda: is_served(client, stack), what="the live bar")
        counts = [await left_today(client, stack.key("pro")) for _ in range(5)]
        counts.append(await left_today(client, new_key))
        assert counts == list(range(counts[0], counts[0] - 6, -1)), "each request is counted, whichever key it has"
    return Used(without_port(stack), counts[-1], new_key, everything(stack))


async def kill(stack: Stack, used: Used) -> None:
    """SIGKILL to `kalpi up` alone: make, above it, ends of itself, and so does all that it has started."""
    assert stack.owner is not None
    os.kill(stack.owner.pid, signal.SIGKILL)

    async def ended() -> bool:
        return not any(process.alive() for process in used.processes) and stack.process.poll() is not None

    if sys.platform == "linux":  # elsewhere the next start ends them
        await until(ended, seconds=30, what="the end of every process of the killed stack")
    assert stack.owner is None


async def check(stack: Stack, used: Used) -> None:
    async with httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as client:
        assert await left_today(client, stack.key("pro")) == used.left_today - 1
        assert await left_today(client, used.new_key) == used.left_today - 2
        assert await is_served(client, stack), "the live bar"


async def left_today(client: httpx.AsyncClient, key: dict[str, str]) -> int:
    answer = await client.get("/api/v1/symbols", headers=key)
    assert answer.status_code == 200, answer.text
    return int(answer.headers["ratelimit"].partition('"day";r=')[2].partition(";")[0])


async def is_served(client: httpx.AsyncClient, stack: Stack) -> bool:
    answer = await client.get(f"/api/v1/bars/{SYMBOL}", headers=stack.key("free"))
    if answer.status_code == 404:
        return False
    return bool([row["close"] for row in answer.json()["data"]] == [CLOSE])


def everything(stack: Stack) -> set[Identity]:
    """`kalpi up` and all below it, the postgres processes of single connections among them."""
    assert stack.owner is not None
    recorded = {Identity(int(entry["pid"]), str(entry["started"])) for entry in entries(stack)}
    return {stack.owner, *recorded, *descendants(stack.owner)}


def entries(stack: Stack) -> list[dict[str, Any]]:
    return [*stack.state["servers"].values(), *stack.state["services"].values()]


def ports_of(stack: Stack) -> set[int]:
    return {int(entry["port"]) for entry in entries(stack)}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def without_port(stack: Stack) -> str:
    """demo.env as it is but for the port, which is a free one at each start."""
    return re.sub(r"^(KALPI_URL=http://127\.0\.0\.1:)\d+$", r"\1", (stack.home / "demo.env").read_text(), flags=re.MULTILINE)
