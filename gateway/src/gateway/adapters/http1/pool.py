"""The connections to one instance: so many at most, and whoever finds them all in use waits in line."""

import asyncio
import socket
import ssl
from collections import deque

from aiohappyeyeballs import start_connection

from gateway.adapters.http1.connection import Connection
from gateway.adapters.http1.requests import Origin

__all__ = ["NotReached", "Pool"]

_NEXT_ADDRESS_S = 0.25
"""RFC 8305, section 5: after so long the next address of a name is tried beside the one before."""


class NotReached(Exception):
    """No connection: the instance has seen nothing of the request. The words are a label of a metric."""


class Pool:
    """`connect_s` is how long opening one may take, with TLS where the origin says so: by the system's authorities, or those that
    SSL_CERT_FILE names."""

    def __init__(self, origin: Origin, *, most: int, connect_s: float) -> None:
        self.origin = origin
        self._most = most
        self._connect_s = connect_s
        self._tls = ssl.create_default_context() if origin.is_tls else None
        self._all: set[Connection] = set()
        self._opening = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    def take_idle(self) -> Connection | None:
        """The one that was used last, so that what is not needed is closed after a while."""
        return self._idle.pop() if self._idle else None

    async def take(self) -> Connection:
        """NotReached. Nobody overtakes those who wait."""
        if not self._waiting:
            connection = self.take_idle()
            if connection is not None:
                return connection
            if len(self._all) + self._opening < self._most:
                self._opening += 1
                return await self._open()
        return await self._next()

    def close_idle(self) -> None:
        for connection in tuple(self._idle):
            connection.abort()

    def close(self) -> None:
        for connection in tuple(self._all):
            connection.abort()

    def opened(self, connection: Connection) -> None:
        self._all.add(connection)

    def free(self, connection: Connection) -> None:
        if not self._hand(connection):
            self._idle.append(connection)

    def gone(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._offer_room()

    async def _next(self) -> Connection:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            connection = await turn
        except BaseException:
            if turn.cancelled():
                self._waiting.remove(turn)
            elif (given := turn.result()) is None:  # it came as its taker went
                self._opening -= 1
                self._offer_room()
            elif not given.is_gone:
                self.free(given)
            raise
        if connection is None:
            return await self._open()
        return await self.take() if connection.is_gone else connection

    async def _open(self) -> Connection:
        """One of those that are counted as opening."""
        origin, loop = self.origin, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
                opened = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S)
                name = origin.host if self._tls is not None else None
                _, connection = await loop.create_connection(
                    lambda: Connection(self), sock=opened, ssl=self._tls, server_hostname=name
                )
        except (OSError, RuntimeError, TimeoutError) as error:  # uvloop knows a closed socket by a RuntimeError
            raise NotReached("refused") from error
        finally:
            self._opening -= 1
            self._offer_room()
        return connection

    def _hand(self, connection: Connection | None) -> bool:
        """To the first who waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _offer_room(self) -> None:
        if len(self._all) + self._opening < self._most and self._hand(None):
            self._opening += 1
