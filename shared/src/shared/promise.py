"""The place of an answer that comes soon among uvicorn's cycles, each of which answers one request of a connection."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["Promise"]


class Promise:
    """Whatever the connection brings meanwhile waits behind it. `cycle` is the one that it has become."""

    __slots__ = ("cycle", "disconnected", "keep_alive", "response_complete", "response_started")
    message_event = asyncio.Event()
    scope = None

    def __init__(self) -> None:
        self.disconnected = self.response_started = self.response_complete = False
        self.keep_alive = True
        self.cycle: RequestResponseCycle | None = None

    @property
    def was_sent(self) -> bool:
        """In messages, to the last of them."""
        return self.cycle is not None and self.cycle.response_complete

    def by_messages(self, protocol: HttpToolsProtocol, *, keep_alive: bool) -> RequestResponseCycle:
        """The cycle that takes its place."""
        newest: Any = protocol.cycle
        scope: Any = {"method": "GET"}
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive and self.keep_alive,
            on_response=protocol.on_response_complete,
        )
        cycle.disconnected = self.disconnected or protocol.transport.is_closing()
        if newest is self:
            protocol.cycle = cycle
        return cycle
