"""Gateway processes on one port are replaced one after the other, under load: no request fails."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from redis.asyncio import Redis

from shared.events import EventBus
from tests.gateway.conftest import Origin
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS

CLIENTS = 12


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Processes:
    """Each has the one listening socket handed in, and metrics on a port of its own."""

    def __init__(self, listener: socket.socket, environment: dict[str, str]) -> None:
        self._listener = listener
        self._environment = environment
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        """Returns once it has opened all it needs."""
        metrics_port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            env={**os.environ, **self._environment, "GATEWAY_METRICS_PORT": str(metrics_port)},
            pass_fds=[self._listener.fileno()],
        )
        self._running.append(process)
        async with httpx.AsyncClient(trust_env=False) as client:

            async def answers() -> bool:
                assert process.returncode is None, "it has ended"
                try:
                    return (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers, seconds=30, what="the process")
        return process

    async def stop(self, process: asyncio.subprocess.Process) -> int:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await process.wait()

    async def end(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
                await process.wait()


@asynccontextmanager
async def processes(**environment: str) -> AsyncIterator[tuple[Processes, str]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        started = Processes(listener, {**environment, "GATEWAY_FD": str(listener.fileno())})
        try:
            yield started, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await started.end()


@pytest.mark.timeout(300)
async def test_every_process_of_a_port_is_replaced_and_no_request_fails(
    origin: Origin, origin_url: str, redis: Redis, bus: EventBus, redis_url: str, nats_url: str
) -> None:
    headers, _ = origin.new_person("wide")
    answers: Counter[int | str] = Counter()
    over = asyncio.Event()

    async def keep_asking(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
            while not over.is_set():
                try:
                    answer = await client.get("/api/v1/bars/A")
                    answers[200 if answer.status_code == 200 else answer.text] += 1
                except httpx.TransportError as error:
                    answers[repr(error)] += 1

    async def answered(more: int) -> None:
        before = answers.total()

        async def enough() -> bool:
            return answers.total() - before >= more

        await until(enough, seconds=60)

    environment = {f"GATEWAY_{service}_URLS": origin_url for service in ("AUTH", "DATA", "INDICATOR", "RATELIMIT")}
    # a busy machine is no reason to answer 503 here
    environment |= {"GATEWAY_UPSTREAM_TIMEOUT_S": "20"}
    environment |= {"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "REDIS_URL": redis_url, "NATS_URL": nats_url}
    async with processes(**environment, GATEWAY_DRAIN_DELAY_S="0.5", GATEWAY_LOG_LEVEL="warning") as (gateways, url):
        serving = [await gateways.start() for _ in range(2)]
        clients = [asyncio.create_task(keep_asking(url)) for _ in range(CLIENTS)]
        await answered(200)
        for old in serving:
            await gateways.start()
            assert await gateways.stop(old) == 0
            await answered(200)
        over.set()
        await asyncio.gather(*clients)
    assert set(answers) == {200}, answers
    assert answers[200] == len(origin.calls), "each was answered once"
