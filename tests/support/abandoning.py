"""Clients that go away in the middle of a request, by the thousand, and what a process holds before and after."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.support.poll import until

__all__ = ["Abandoned", "abandon"]

_AT_ONCE = 100
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: the connection ends with a reset instead of a FIN."""


@dataclass(frozen=True)
class Abandoned:
    """`reached`: of so many requests that were `sent`, this many had come to the origin when their clients went."""

    sent: int
    reached: int


async def abandon(
    address: tuple[str, int], request: bytes, count: int, asked: Callable[[], Awaitable[int]], patience_s: float = 2.0
) -> Abandoned:
    """Sends it on `count` connections, a hundred at a time, and goes once the origin has been `asked` for all of them.

    Or once it has taken `patience_s`. Every second client resets its connection, the others close it.
    """
    reached = 0
    for begun in range(0, count, _AT_ONCE):
        before, size = await asked(), min(_AT_ONCE, count - begun)
        sockets = await asyncio.gather(*(_send(address, request) for _ in range(size)))

        async def all_there(most: int = before + size) -> bool:
            return await asked() >= most

        with suppress(AssertionError):
            await until(all_there, seconds=patience_s, every_s=0.005)
        reached += await asked() - before
        for number, opened in enumerate(sockets):
            if number % 2:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            opened.close()
    return Abandoned(count, reached)


async def _send(address: tuple[str, int], request: bytes) -> socket.socket:
    opened = socket.socket()
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, address)
    await asyncio.get_running_loop().sock_sendall(opened, request)
    return opened
