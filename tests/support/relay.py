"""A way to a server that a test holds in its hands: on another kind of socket, counted, or silent."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Relay:
    """While `silent`, what the server answers stays here. `pieces` are what clients wrote, as it was read."""

    url: str
    port: int = 0
    silent: bool = False
    pieces: list[bytes] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = urlsplit(self.url)
        back, forth = await asyncio.open_connection(address.hostname, address.port)
        self._writers |= {writer, forth}
        try:
            await asyncio.gather(self._there(reader, forth), self._back(back, writer))
        finally:
            forth.transport.abort()
            writer.transport.abort()

    async def _there(self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 20):
                self.pieces.append(piece)
                forth.write(piece)
        forth.transport.abort()

    async def _back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await back.read(1 << 20):
                if not self.silent:
                    writer.write(piece)
        writer.transport.abort()


@asynccontextmanager
async def relaying(url: str, *, path: Path | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """To the server of `url`: on a unix socket at `path`, else on a port of 127.0.0.1."""
    relay = Relay(url)
    if path is not None:
        server: asyncio.AbstractServer = await asyncio.start_unix_server(relay.serve, path)
    else:
        server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, ssl=tls)
        relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await asyncio.sleep(0)
