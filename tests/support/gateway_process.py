"""One more gateway beside a running stack's own: the real process, on a port of its own, in front of whatever it is told of."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from kalpi_local.net import free_port
from tests.support.stack import Stack

_READY_S, _STOP_S = 60.0, 40.0
GATEWAY = ("-m", "gateway")


@dataclass(frozen=True)
class GatewayProcess:
    url: str
    port: int
    metrics_port: int
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def metrics(self) -> str:
        """In Prometheus' text form."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text


def environment_of(stack: Stack) -> dict[str, str]:
    """What a gateway is told that stands where the stack's own does."""
    urls = stack.state["urls"]
    return {
        **{f"GATEWAY_{name.upper()}_URLS": urls[f"{name}-service"] for name in ("auth", "data", "indicator", "ratelimit")},
        "REDIS_URL": urls["valkey"],
        "NATS_URL": urls["nats"],
        "KALPI_PRINCIPAL_KEYS": json.loads((stack.home / "secrets.json").read_text())["principal_keys"],
    }


@contextmanager
def gateway_process(
    stack: Stack, name: str, told: Mapping[str, str] | None = None, python: Sequence[str] = GATEWAY
) -> Iterator[GatewayProcess]:
    """Once it is ready. `told` is beyond or instead of what the stack's own is told; `python` what the interpreter runs.

    RuntimeError with the end of its log, `<name>.log` in the stack's folder, when it does not start.
    """
    log = stack.folder / f"{name}.log"
    metrics_port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("ab") as output:
        environment = {
            **os.environ,
            **environment_of(stack),
            "GATEWAY_FD": str(listener.fileno()),
            "GATEWAY_METRICS_PORT": str(metrics_port),
            **(told or {}),
        }
        process = subprocess.Popen(
            [sys.executable, *python], env=environment, pass_fds=[listener.fileno()], stdout=output, stderr=output
        )
        port = listener.getsockname()[1]
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", port, metrics_port, process.pid)
    try:
        deadline = time.monotonic() + _READY_S
        while not _is_ready(gateway.url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield gateway
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
