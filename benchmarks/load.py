"""A client that costs little: on each connection one request after another, and of an answer no more is read than its length.

Even so it may be the client that is measured: its own ceiling belongs beside every figure taken with it.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import uvloop

__all__ = ["Load", "ceiling", "request_of", "requests_per_second", "send_all"]

_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Load:
    """`taken` are the seconds of each answer, from sending its request to its last byte."""

    seconds: float
    taken: list[float]

    @property
    def per_second(self) -> float:
        return len(self.taken) / self.seconds


def requests_per_second(
    url: str, headers: Mapping[str, str], requests: int, connections: int, body: bytes | None = None
) -> float:
    """A GET, or a POST of JSON. RuntimeError for an answer that is not 200."""
    return send_all(url, itertools.repeat(request_of(url, headers, body), requests), connections).per_second


def request_of(url: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """As it is sent."""
    parts = urlsplit(url)
    told = {"Host": parts.netloc, "Accept": "*/*", **headers}
    if body is not None:
        told |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    method = "GET" if body is None else "POST"
    return f"{method} {parts.path}?{parts.query} HTTP/1.1\r\n{fields}\r\n".encode() + (body or b"")


def send_all(url: str, requests: Iterator[bytes], connections: int) -> Load:
    """To the host of `url`, each as soon as a connection is free for it. RuntimeError for an answer that is not 200."""
    parts = urlsplit(url)
    return uvloop.run(_run(parts.hostname or "", parts.port or 80, requests, connections))


def ceiling(body: int, requests: int, connections: int) -> float:
    """Requests a second of this client against a server, in a process of its own, that answers `body` bytes without a thought."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(body, theirs), daemon=True)
    server.start()
    try:
        return requests_per_second(f"http://127.0.0.1:{ours.recv()}/?", {}, requests, connections)
    finally:
        server.terminate()
        server.join()


def _serve(body: int, pipe: Connection) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body + bytes(body)

    class Thoughtless(asyncio.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of every stream
            self._transport = transport

        def data_received(self, _data: bytes) -> None:
            self._transport.write(answer)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Thoughtless, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], taken: list[float], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._taken = taken
        self._done = done
        self._head = b""
        self._missing: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of every stream
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            head, ended, body = self._head.partition(_HEAD_ENDS)
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self._fail(RuntimeError(head.decode("latin-1")))
                return
            self._missing = int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
            data = body
        self._missing -= len(data)
        if self._missing == 0:
            self._taken.append(time.perf_counter() - self._sent)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the server closed the connection"))

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._head, self._missing, self._sent = b"", None, time.perf_counter()
        self._transport.write(request)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


async def _run(host: str, port: int, requests: Iterator[bytes], connections: int) -> Load:
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    began = time.perf_counter()
    waiting = [loop.create_future() for _ in range(connections)]
    for done in waiting:
        await loop.create_connection(partial(_Client, requests, taken, done), host, port)
    await asyncio.gather(*waiting)
    return Load(time.perf_counter() - began, taken)
