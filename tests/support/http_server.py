"""An ASGI app on a real socket of 127.0.0.1, behind the same protocol the services use."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from shared.strict_protocol import StrictProtocol


@asynccontextmanager
async def serving(app: ASGIApp, *, port: int = 0) -> AsyncIterator[str]:
    """Yields the base URL. Leaving closes the listener and every connection, and cancels what is still being answered.

    Without uvicorn's server, which looks every tenth of a second whether it is to stop.
    """
    config = uvicorn.Config(app, http=StrictProtocol, ws="none", log_config=None, access_log=False)
    config.load()
    lifespan, state = config.lifespan_class(config), ServerState()
    await lifespan.startup()
    assert not lifespan.should_exit, "the app did not start"
    # asyncio looks whether it is TCP by name before it turns Nagle's algorithm off, as uvloop always does: 40 ms for each answer
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(
        lambda: StrictProtocol(config=config, server_state=state, app_state=lifespan.state), sock=listener
    )
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.transport.close()
        for answering in tuple(state.tasks):
            answering.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await lifespan.shutdown()
