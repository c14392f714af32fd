"""The origin of every contender: a process that answers each request with the same bytes, and spends little on it.

    python -m benchmarks.gateway.origin <port> <file with the body>

A path with `/held` in it is never answered, until whoever asked goes away. `/counts` says how many requests have come and how
many are held.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

__all__ = ["HELD", "counts_url"]

HELD = "/held"
_ENDS = b"\r\n\r\n"


def counts_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/counts"


class Origin(asyncio.Protocol):
    """One connection. Requests have no body; what follows one before it was answered is not looked at."""

    answer = b""
    asked = 0
    held = 0

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
        if b" /counts " in target:
            told = json.dumps({"asked": Origin.asked, "held": Origin.held}).encode()
            self._transport.write(_answer(told))
            return
        Origin.asked += 1
        if b"/held" in target:
            Origin.held += 1
            self._holds = True
        else:
            self._transport.write(Origin.answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the same whatever ended it
        if self._holds:
            Origin.held -= 1


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _serve(port: int, body: bytes) -> None:
    Origin.answer = _answer(body)
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
