"""Runs one service as a process: uvicorn on uvloop and httptools, and a stop that loses no request."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from shared.health import Readiness
from shared.logging import configure_logging, get_logger
from shared.outbox import Outbox
from shared.settings import ServiceSettings
from shared.strict_protocol import StrictProtocol

__all__ = ["serve"]

DRAIN_S = 30
_log = get_logger("server")


def serve(service: str, settings: ServiceSettings, create_app: Callable[[Any], FastAPI]) -> None:
    """Returns when the process has been told to stop (SIGTERM, SIGINT) and every request under way has been answered."""
    configure_logging(service, settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=StrictProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, app.state.readiness, settings.drain_delay_s)
    sockets = [socket.socket(fileno=settings.fd)] if settings.fd is not None else None
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets))
    if not server.started:
        raise SystemExit(1)


class _State(ServerState):
    """What all connections of a server know."""

    stopping = False

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()


class _Server(uvicorn.Server):
    """On a signal: not ready, a pause in which load balancers notice, then uvicorn's own drain; exit code 0.

    From the signal on every answer is the last of its connection: one that stays open to the end, without a request under way,
    would be closed in the face of the next one.
    """

    def __init__(self, config: uvicorn.Config, readiness: Readiness, drain_delay_s: float) -> None:
        super().__init__(config)
        self.server_state = self._state = _State()
        self._readiness = readiness
        self._drain_delay_s = drain_delay_s

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, loop)
        await self._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # what is there now stays: a collection that looked through all of it stopped the loop for 60 to 200 ms
        gc.collect()
        gc.freeze()

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        _log.info("stopping")
        self._readiness.ready = False
        self._state.stopping = True
        loop.call_later(self._drain_delay_s, self._exit)

    def _exit(self) -> None:
        self.should_exit = True
