"""A server of 127.0.0.1 that says whatever bytes a test wants said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    url: str
    requests: int = 0
    """Whose head has come."""


@asynccontextmanager
async def saying(handler: Handler) -> AsyncIterator[RawServer]:
    """`handler` is run once for each request head that comes, and its connection closed after it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            server.requests += 1
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side has gone, or the test is over
        finally:
            answering.discard(task)
            writer.close()

    answering: set[asyncio.Task[None]] = set()
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = RawServer(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(answering):
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
