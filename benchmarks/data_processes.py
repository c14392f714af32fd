"""What whole data-service processes take that share a folder of bars. Part of `make bench-data`."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from kalpi_local.servers import Servers, embedded_servers
from tests.support.principals import PRINCIPAL_KEYS

__all__ = ["service_pss"]

_READY_S = 120


def _pss_mb(process: int) -> float:
    """Its share of the memory: shared pages count by their share."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0]) / 1024


def service_pss(folder: Path, state: Path, source: Path) -> tuple[float, float]:
    """MB of one `python -m data_service`, with its NATS and its Redis, and of two together."""
    return asyncio.run(_measured(folder, state, source))


async def _measured(folder: Path, state: Path, source: Path) -> tuple[float, float]:
    async with embedded_servers(folder, durable=False) as servers:
        return await asyncio.to_thread(_one_and_two, servers, state, source)


def _one_and_two(servers: Servers, state: Path, source: Path) -> tuple[float, float]:
    with ExitStack() as running:
        first = running.enter_context(_service(servers, state, source))
        alone = _pss_mb(first)
        second = running.enter_context(_service(servers, state, source))
        return alone, _pss_mb(first) + _pss_mb(second)


@contextmanager
def _service(servers: Servers, state: Path, source: Path) -> Iterator[int]:
    """The process's id, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environment = {
            **os.environ,
            "DATA_FD": str(listener.fileno()),
            "DATA_STATE_DIR": str(state),
            "DATA_BARS_PATH": str(source),
            "DATA_LOG_LEVEL": "warning",
            "REDIS_URL": servers.redis_url,
            "NATS_URL": servers.nats_url,
            "KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS,
        }
        process = subprocess.Popen([sys.executable, "-m", "data_service"], env=environment, pass_fds=[listener.fileno()])
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/health/ready"
    try:
        deadline = time.monotonic() + _READY_S
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("data-service did not start")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
