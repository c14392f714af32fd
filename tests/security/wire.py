"""Bytes as they go over a socket, to a real gateway with an origin behind it that keeps what it is asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway_process import GatewayProcess

_LONGEST_S = 10.0
_QUIET_S = 0.3


class Asked(NamedTuple):
    """What came to the origin."""

    method: str
    target: str
    body: bytes


@dataclass
class RecordingOrigin:
    """Answers everything with its target."""

    asked: list[Asked] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator["RecordingOrigin"]:
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                origin.asked.append(Asked(self.command, self.path, body))
                origin.fields.append({name.lower(): value for name, value in self.headers.items()})
                told = json.dumps({"target": self.path}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its own name for it
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            try:
                yield self
            finally:
                server.shutdown()


@dataclass(frozen=True)
class Reply:
    """All that came back; `closed`: and then the gateway closed the connection."""

    received: bytes
    closed: bool

    @property
    def statuses(self) -> list[int]:
        """Of the answers, one after another; AssertionError where something else is between them."""
        statuses, rest = [], self.received
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            version, status, _ = lines[0].split(b" ", 2)
            assert version == b"HTTP/1.1"
            fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:])}
            statuses.append(int(status))
            rest = rest[int(fields.get(b"content-length", b"0")) :]
        return statuses

    @property
    def body(self) -> Any:
        """Of a single answer, as JSON."""
        return json.loads(self.received.partition(b"\r\n\r\n")[2])


@dataclass(frozen=True)
class Front:
    """`key` is the header line of a key that may do everything."""

    gateway: GatewayProcess
    origin: RecordingOrigin
    key: bytes

    async def send(self, *parts: bytes, answers: int = 1, closes: bool = False) -> Reply:
        """What comes back by the time the gateway has closed the connection, or has nothing to say for a while after so many
        answers; where it `closes`, that is waited for.

        Between two parts waits until there is an answer, or nothing to be had.
        """
        reader, writer = await asyncio.open_connection(*self.gateway.address)
        received, closed = b"", False
        try:
            for number, part in enumerate(parts, 1):
                writer.write(part)
                is_last = number == len(parts)
                more, closed = await _all(reader, answers if is_last else 1, closes=is_last and closes)
                received += more
        except ConnectionError:
            closed = True
        finally:
            writer.close()
        return Reply(received, closed)

    def count(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.gateway.metrics())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def _all(reader: asyncio.StreamReader, answers: int, *, closes: bool) -> tuple[bytes, bool]:
    received = b""
    while True:
        # what is to come may take long; after it, silence is the end
        is_all = not closes and _whole(received) >= answers
        try:
            piece = await asyncio.wait_for(reader.read(1 << 16), _QUIET_S if is_all else _LONGEST_S)
        except TimeoutError:
            return received, False
        if not piece:
            return received, True
        received += piece


def _whole(received: bytes) -> int:
    """How many answers have come to their end."""
    whole = 0
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or b"0")
        if len(rest) < length:
            break
        whole, received = whole + 1, rest[length:]
    return whole


@dataclass
class Bystander:
    """A connection that was there before, and asks for something of its own now and then."""

    front: Front
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def of(cls, front: Front) -> "Bystander":
        bystander = cls(front, *await asyncio.open_connection(*front.gateway.address))
        await bystander.is_served()
        return bystander

    async def is_served(self) -> None:
        """With the answer to its own question."""
        self.writer.write(b"GET /api/v1/symbols/BYSTANDER HTTP/1.1\r\nHost: localhost\r\n" + self.front.key + b"\r\n")
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), _LONGEST_S)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = json.loads(await self.reader.readexactly(length))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == {"target": "/api/v1/symbols/BYSTANDER"}

    @property
    def others(self) -> list[Asked]:
        """What came to the origin from anybody else."""
        return [one for one in self.front.origin.asked if one.target != "/api/v1/symbols/BYSTANDER"]
