"""Ports of 127.0.0.1: finding one, reserving one, asking who answers there."""

import asyncio
import contextlib
import socket

from kalpi_local.errors import LocalError

__all__ = ["LOCALHOST", "Reservation", "answers", "free_port"]

LOCALHOST = "127.0.0.1"


def free_port(wanted: int | None = None) -> int:
    """`wanted` when nothing listens there, else one that the system picks."""
    for port in (wanted, 0):
        if port is not None:
            with contextlib.suppress(OSError), _bound(port, socket.SO_REUSEADDR) as probe:
                return _number(probe)
    raise LocalError("no TCP port is free on this machine")


class Reservation:
    """A port held for the stack's lifetime by a socket that is bound and never listens.

    Each process that is to serve there gets a fresh socket bound beside it (SO_REUSEPORT). So the port listens only while a
    ready process lives: with none, the kernel refuses connections at once, and nobody else can take the port meanwhile.
    """

    def __init__(self, port: int, *, taken: str) -> None:
        """0 is any free port. LocalError with the words `taken` when another process has it."""
        try:
            # without SO_REUSEPORT, which would let us in beside another stack of the same user
            _bound(port, socket.SO_REUSEADDR).close()
            self._held = _held(port)
        except OSError as error:
            raise LocalError(f"{taken} ({error.strerror})") from None
        self.port = _number(self._held)

    def fresh(self) -> socket.socket:
        """A socket to listen on, for one process."""
        return _bound(self.port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)

    def close(self) -> None:
        self._held.close()


def _held(port: int) -> socket.socket:
    try:
        # not SO_REUSEADDR: another stack's probe is to meet it even while no process listens
        return _bound(port, socket.SO_REUSEPORT)
    except OSError:
        # connections of an earlier, foreign server there are still in TIME_WAIT
        return _bound(port, socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _bound(port: int, *options: int) -> socket.socket:
    bound = socket.socket()
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind((LOCALHOST, port))
    except OSError:
        bound.close()
        raise
    return bound


def _number(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


async def answers(port: int, greeting: bytes, expected: bytes) -> bool:
    """Whether whoever listens on the port, sent `greeting`, says `expected` within two seconds."""
    with contextlib.suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            try:
                writer.write(greeting)
                await reader.readuntil(expected)
                return True
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    return False
