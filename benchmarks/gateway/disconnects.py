"""Ten thousand clients that go away in mid-request, and what the gateway still holds when they have gone."""

import asyncio
import time
from dataclasses import dataclass

import httpx
from redis.asyncio import Redis

from benchmarks.gateway.origin import HELD, counts_url
from benchmarks.gateway.processes import descriptors, resident_bytes
from benchmarks.load import request_of
from kalpi_local.net import free_port
from tests.support.abandoning import abandon
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.stack import Stack
from tests.support.watched_gateway import tasks_of

__all__ = ["Disconnects", "Holding", "disconnects"]

CLIENTS = 10_000
AT_ONCE = 200
_SETTLED_S = 30.0
_TARGET = f"/api/v1/indicators{HELD}?symbol=AAPL"


@dataclass(frozen=True)
class Holding:
    """`upstream`: requests that the origin still holds for the gateway; `slots`: of callers, in the store."""

    upstream: int
    slots: int
    descriptors: int
    tasks: int
    resident_mib: float


@dataclass(frozen=True)
class Disconnects:
    """`through`: of `AT_ONCE` requests afterwards, how many the origin held at one time: a leaked slot would be one less."""

    clients: int
    reached: int
    seconds: float
    settled_s: float
    before: Holding
    after: Holding
    through: int


class _Watch:
    def __init__(self, gateway: GatewayProcess, watched: int, origin: int, store: Redis, client: httpx.AsyncClient) -> None:
        self._gateway, self._watched, self._store = gateway, watched, store
        self._client, self._counts = client, counts_url(origin)

    async def counts(self) -> dict[str, int]:
        counted: dict[str, int] = (await self._client.get(self._counts)).json()
        return counted

    async def asked(self) -> int:
        return (await self.counts())["asked"]

    async def holding(self) -> Holding:
        slots = [await self._store.zcard(key) async for key in self._store.scan_iter("limits:slots:*", count=1000)]
        pid, tasks = self._gateway.pid, await tasks_of(self._watched)
        upstream = (await self.counts())["held"]
        return Holding(upstream, sum(slots), descriptors(pid), tasks, round(resident_bytes(pid) / (1 << 20), 1))

    async def settled(self, least: Holding) -> tuple[float, Holding]:
        """Once as little is held as before; or what is held when it has taken too long."""
        began = time.monotonic()
        while True:
            now = await self.holding()
            taken = time.monotonic() - began
            few = (now.upstream, now.slots) == (0, 0) and now.tasks <= least.tasks and now.descriptors <= least.descriptors
            if few or taken > _SETTLED_S:
                return taken, now
            await asyncio.sleep(0.1)


def disconnects(stack: Stack, origin_port: int) -> Disconnects:
    """On a gateway of its own, which tells of its tasks."""
    watched = free_port()
    told = {"GATEWAY_INDICATOR_URLS": f"http://127.0.0.1:{origin_port}", "WATCHED_PORT": str(watched)}
    with gateway_process(stack, "abandoned", told, ("-m", "tests.support.watched_gateway")) as gateway:
        return asyncio.run(_run(stack, gateway, watched, origin_port))


async def _run(stack: Stack, gateway: GatewayProcess, watched: int, origin_port: int) -> Disconnects:
    request = request_of(gateway.url + _TARGET, stack.key("enterprise"))
    async with (
        Redis.from_url(stack.state["urls"]["valkey"]) as store,
        httpx.AsyncClient(trust_env=False, timeout=10) as client,
    ):
        watch = _Watch(gateway, watched, origin_port, store, client)
        nothing = await watch.holding()
        # once as many as will be there at a time, so that the pools are as they will be
        await abandon(gateway.address, request, AT_ONCE, watch.asked)
        _, before = await watch.settled(nothing)
        began = time.monotonic()
        abandoned = await abandon(gateway.address, request, CLIENTS, watch.asked)
        seconds = time.monotonic() - began
        settled_s, after = await watch.settled(before)
        through = (await abandon(gateway.address, request, AT_ONCE, watch.asked)).reached
    return Disconnects(abandoned.sent, abandoned.reached, seconds, settled_s, before, after, through)
