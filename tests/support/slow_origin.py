"""An origin in a process of its own that answers every request with the same bytes, and spends little on it.

    python -m tests.support.slow_origin <port> <file with the body>

A path with `/slow` in it is answered a tenth of a second later, one with `/held` never; `/counts` says
how many requests have come and how many are held, which is until whoever asked has gone. `/counts/<number>` says so as soon as
that many have come.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
import uvloop

from kalpi_local.net import free_port

__all__ = ["SlowOrigin", "slow_origin"]

_SLOW_S = 0.1
_READY_S = 20.0
_ENDS = b"\r\n\r\n"


@dataclass(frozen=True)
class SlowOrigin:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def slow_origin(body: Path, log: Path) -> Iterator[SlowOrigin]:
    """Once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.slow_origin", str(port), str(body)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=output, stderr=output)
    origin = SlowOrigin(port, process.pid)
    try:
        deadline = time.monotonic() + _READY_S
        while not _answers(origin.url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield origin
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class _Connection(asyncio.Protocol):
    """Requests have no body; what follows one before it was answered is not looked at."""

    answer = b""
    asked = 0
    held = 0
    waiting: ClassVar[list[tuple[int, asyncio.Transport]]] = []

    def __init__(self) -> None:
        self._head = b""
        self._holds = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of every stream
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._head = head = self._head + data if self._head else data
        if not head.endswith(_ENDS):
            return
        self._head = b""
        target = head[: head.find(b"\r")]
        if b" /counts" in target:
            self.waiting.append((int(target.split()[1].removeprefix(b"/counts").lstrip(b"/") or 0), self._transport))
            self._tell()
            return
        _Connection.asked += 1
        if self.waiting:
            self._tell()
        if b"/held" in target:
            _Connection.held += 1
            self._holds = True
        elif b"/slow" in target:
            asyncio.get_running_loop().call_later(_SLOW_S, self._transport.write, _Connection.answer)
        else:
            self._transport.write(_Connection.answer)

    def _tell(self) -> None:
        """Whoever waits for no more than have come."""
        told = _answer(json.dumps({"asked": self.asked, "held": self.held}).encode())
        for most, transport in self.waiting:
            if most <= self.asked:
                transport.write(told)
        self.waiting[:] = [one for one in self.waiting if one[0] > self.asked]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the same whatever ended it
        self.waiting[:] = [one for one in self.waiting if one[1] is not self._transport]
        if self._holds:
            _Connection.held -= 1


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _serve(port: int, body: bytes) -> None:
    _Connection.answer = _answer(body)
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
