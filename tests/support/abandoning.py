"""Clients that go away in the middle of a request, by the thousand, and what a gateway holds before and after."""

import asyncio
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis.asyncio import Redis

from kalpi_local.net import free_port
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.slow_origin import SlowOrigin
from tests.support.stack import UNTRACED, Stack
from tests.support.watched_gateway import tasks_of

__all__ = ["AT_ONCE", "Abandoned", "Holding", "abandon_requests"]

AT_ONCE = 100
_PATIENCE_S = 5.0
_SETTLED_S = 20.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: the connection ends with a reset instead of a FIN."""


@dataclass(frozen=True)
class Holding:
    """`upstream`: requests that the origin still holds for the gateway; `slots`: of callers, in the store, not run out."""

    upstream: int
    slots: int
    descriptors: int
    tasks: int
    resident_mib: float


@dataclass(frozen=True)
class Abandoned:
    """Of so many `clients`, `reached` went while the origin worked for them; what was held `settled_s` after the last.

    `through`: of `AT_ONCE` requests afterwards, how many were at the origin at one time, where a slot that leaked would be
    missing; `let_go_s`: and how long after their clients went the origin was rid of them.
    """

    clients: int
    reached: int
    seconds: float
    settled_s: float
    before: Holding
    after: Holding
    through: int
    let_go_s: float


def abandon_requests(stack: Stack, origin: SlowOrigin, clients: int) -> Abandoned:
    """On a gateway of its own beside the stack's, which tells of its tasks."""
    watched = free_port()
    told = {"GATEWAY_INDICATOR_URLS": origin.url, "WATCHED_PORT": str(watched), **UNTRACED}
    with gateway_process(stack, "abandoned", told, ("-m", "tests.support.watched_gateway")) as gateway:
        return asyncio.run(_abandon(stack, gateway, watched, origin, clients))


async def _abandon(stack: Stack, gateway: GatewayProcess, watched: int, origin: SlowOrigin, clients: int) -> Abandoned:
    async with (
        Redis.from_url(stack.state["urls"]["valkey"]) as store,
        httpx.AsyncClient(base_url=origin.url, trust_env=False, timeout=10) as client,
    ):
        crowd = _Crowd(gateway, watched, store, client, stack.key("enterprise")["X-API-Key"])
        # a few first, so that pools and caches are as they will be
        await crowd.go("slow", 5 * AT_ONCE)
        await crowd.settle(await crowd.holding())
        before, began = await crowd.holding(), time.monotonic()
        reached = await crowd.go("slow", clients)
        seconds = time.monotonic() - began
        settled_s, after = await crowd.settle(before)
        through = await crowd.go("held", AT_ONCE)
        let_go_s, _ = await crowd.settle(before)
    return Abandoned(clients, reached, seconds, settled_s, before, after, through, let_go_s)


class _Crowd:
    def __init__(self, gateway: GatewayProcess, watched: int, store: Redis, origin: httpx.AsyncClient, key: str) -> None:
        self._gateway, self._watched, self._store, self._origin, self._key = gateway, watched, store, origin, key
        self._numbers = itertools.count(2)

    def _requests(self, path: str) -> Iterator[bytes]:
        """Each asks for something else: none waits for another's answer."""
        for number in self._numbers:
            target = f"/api/v1/indicators/{path}?symbol=AAPL&time_period={number}"
            yield f"GET {target} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self._key}\r\n\r\n".encode()

    async def go(self, path: str, clients: int) -> int:
        """So many ask for it, a hundred at a time, and go once all of them have come to the origin, or waited long enough.

        How many had come. Every second one resets its connection, the others close it.
        """
        reached, requests = 0, self._requests(path)
        for _ in range(0, clients, AT_ONCE):
            before = await self._asked()
            sockets = await asyncio.gather(*(self._send(next(requests)) for _ in range(AT_ONCE)))
            with suppress(httpx.ReadTimeout):
                await self._origin.get(f"/counts/{before + AT_ONCE}", timeout=_PATIENCE_S)
            reached += await self._asked() - before
            for number, opened in enumerate(sockets):
                if number % 2:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                opened.close()
        return reached

    async def _send(self, request: bytes) -> socket.socket:
        opened, loop = socket.socket(), asyncio.get_running_loop()
        opened.setblocking(False)
        await loop.sock_connect(opened, self._gateway.address)
        await loop.sock_sendall(opened, request)
        return opened

    async def settle(self, least: Holding) -> tuple[float, Holding]:
        """Seconds until as little is held, and what is; or what is when that takes too long."""
        began = time.monotonic()
        while True:
            now, taken = await self.holding(), time.monotonic() - began
            few = now.tasks <= least.tasks and now.descriptors < least.descriptors + AT_ONCE  # what the pools keep
            if ((now.upstream, now.slots) == (0, 0) and few) or taken > _SETTLED_S:
                return taken, now
            await asyncio.sleep(0.05)

    async def holding(self) -> Holding:
        seconds, microseconds = await self._store.time()
        now_ms = seconds * 1000 + microseconds // 1000
        names = [name async for name in self._store.scan_iter("limits:slots:*", count=1000)]
        slots = [await self._store.zcount(name, now_ms, "+inf") for name in names]
        process = Path(f"/proc/{self._gateway.pid}")
        pages = int((process / "statm").read_text().split()[1])
        return Holding(
            upstream=(await self._counts())["held"],
            slots=sum(slots),
            descriptors=len(list((process / "fd").iterdir())),
            tasks=await tasks_of(self._watched),
            resident_mib=round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 1),
        )

    async def _asked(self) -> int:
        return (await self._counts())["asked"]

    async def _counts(self) -> dict[str, int]:
        counted: dict[str, int] = (await self._origin.get("/counts")).json()
        return counted
