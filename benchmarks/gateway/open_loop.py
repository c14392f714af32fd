"""Latency under a steady rate, whatever the answers take: each is counted from when its request was due, not when it was sent.

So a server that stalls is charged for all who would have come meanwhile (no coordinated omission). One thread over plain sockets:
`select` waits to the microsecond, an event loop to the millisecond. https://www.scylladb.com/2021/04/22/on-coordinated-omission/
"""

import itertools
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Latencies", "added_ms", "open_loop"]

CONNECTIONS = 128
GRACE_S = 3.0
_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Latencies:
    """Seconds, sorted. A request that was refused, or not answered, counts as if it had waited to the end."""

    taken: list[float]
    unanswered: int

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.taken) * 1e3

    @property
    def p99_ms(self) -> float:
        return statistics.quantiles(self.taken, n=100)[98] * 1e3


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """The status, when what has come now completes the answer; RuntimeError when the connection ends."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the server closed a connection")
        self._received += data
        head, ended, body = self._received.partition(_ENDS)
        if not ended:
            return None
        length = int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        self._received = b""
        return int(head.split(b" ", 2)[1])


def open_loop(address: tuple[str, int], requests: Sequence[bytes], rate: float, seconds: float) -> Latencies:
    """RuntimeError when a connection is closed: a server that refuses says so."""
    connections = [_Connection(address) for _ in range(CONNECTIONS)]
    try:
        return _run(connections, itertools.cycle(requests), rate, seconds)
    finally:
        for connection in connections:
            connection.socket.close()


def _run(connections: list[_Connection], requests: Iterator[bytes], rate: float, seconds: float) -> Latencies:
    idle, busy, taken = list(connections), set[_Connection](), list[float]()
    began = time.perf_counter()
    to_come = deque(began + number / rate for number in range(int(rate * seconds)))
    ends = began + seconds + GRACE_S
    refused: list[float] = []
    while (to_come or busy) and (now := time.perf_counter()) < ends:
        while to_come and idle and to_come[0] <= now:
            connection = idle.pop()
            connection.ask(next(requests), to_come.popleft())
            busy.add(connection)
        # with nobody free, the next answer is what there is to wait for
        until = to_come[0] if to_come and idle else ends
        ready, _, _ = select.select(busy, (), (), max(0.0, until - time.perf_counter()))
        for connection in ready:
            if (status := connection.answered()) is not None:
                if status == 200:
                    taken.append(time.perf_counter() - connection.due)
                else:
                    refused.append(connection.due)
                busy.remove(connection)
                idle.append(connection)
    late = [ends - due for due in (*refused, *to_come, *(connection.due for connection in busy))]
    return Latencies(sorted(taken + late), len(late))


def added_ms(over: Sequence[Latencies], direct: Sequence[Latencies], figure: Callable[[Latencies], float]) -> float:
    """What comes on top, the median of rounds of which each has both."""
    return statistics.median(figure(one) - figure(other) for one, other in zip(over, direct, strict=True))
