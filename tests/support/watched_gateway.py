"""The gateway's own process, which also tells on a port how many tasks its loop has: `python -m tests.support.watched_gateway`.

The port is in WATCHED_PORT. Whoever connects there is told and the connection closed.
"""

import asyncio
import os
import runpy
import socket

import uvicorn

_startup = uvicorn.Server.startup


async def _tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # not the one that tells
    writer.write(b"%d" % (len(asyncio.all_tasks()) - 1))
    await writer.drain()
    writer.close()


async def _watched(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    await _startup(self, sockets)
    self.watching = await asyncio.start_server(_tell, "127.0.0.1", int(os.environ["WATCHED_PORT"]))  # type: ignore[attr-defined]


async def tasks_of(port: int) -> int:
    """Of the process that tells on this port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    told = await reader.read()
    writer.close()
    return int(told)


if __name__ == "__main__":
    uvicorn.Server.startup = _watched  # type: ignore[method-assign]
    runpy.run_module("gateway", run_name="__main__")
