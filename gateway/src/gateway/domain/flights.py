"""One request to a service for all clients that want the same answer at the same time.

The first who asks begins a flight, in a task of its own: a client that goes away takes it from nobody, and when all who wait have
gone it ends. It lands with an answer for all, with an error for all, or with something that is for the first alone, who then says
when he is done with it; then the others go on by themselves, and for as long as that key is known to be of this kind nobody waits
for another's flight.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from shared.errors import KalpiError
from shared.tasks import end_task, log_failure

__all__ = ["Flight", "Flights"]

MOST_UNSHARED = 4096

T = TypeVar("T")
"""What is for all."""
H = TypeVar("H")
"""What is for the first alone."""


class Flight(Generic[T, H]):
    """`began` is when, on the clock of facts."""

    def __init__(self, began: int) -> None:
        self.began = began
        self.has_landed = False
        self._answer: T | None = None
        self._error: Exception | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._has_left = False
        self._leaving: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.handed: H | None = None
        """For the first, until he calls `leave`."""

    async def landing(self) -> T | None:
        """The answer for all; None when there is none. Raises what the service's failure raised."""
        if not self.has_landed:
            # a future for each: one who goes away must not take it from the others
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)
                if not (self._waiting or self.has_landed):
                    self.land(None)  # who comes from now on does not join it
                    if self.task is not None:
                        self.task.cancel()
        if self._error is not None:
            raise self._error
        return self._answer

    def leave(self) -> None:
        """The first is done with what he was handed, or waits no longer."""
        self._has_left = True
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(None)

    async def hand_over(self, handed: H) -> None:
        """Returns once the first is done with it."""
        self.handed = handed
        self.land(None)
        if not self._has_left:
            self._leaving = asyncio.get_running_loop().create_future()
            await self._leaving

    def land(self, answer: T | None) -> None:
        self._end(answer, None)

    def fail(self, error: Exception) -> None:
        self._end(None, error)

    def _end(self, answer: T | None, error: Exception | None) -> None:
        if self.has_landed:
            return
        self.has_landed, self._answer, self._error = True, answer, error
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Flights(Generic[T, H]):
    def __init__(self) -> None:
        self._flying: dict[bytes, Flight[T, H]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unshared: OrderedDict[bytes, None] = OrderedDict()

    def under_way(self, key: bytes) -> Flight[T, H] | None:
        flight = self._flying.get(key)
        return flight if flight is not None and not flight.has_landed else None

    def is_shared(self, key: bytes) -> bool:
        """False where the newest answer was one that is not for all."""
        return key not in self._unshared

    def learn(self, key: bytes, *, shared: bool) -> None:
        self._unshared.pop(key, None)
        if not shared:
            self._unshared[key] = None
            if len(self._unshared) > MOST_UNSHARED:
                self._unshared.popitem(last=False)

    def begin(self, key: bytes, moment: int, fly: Callable[[Flight[T, H]], Awaitable[None]]) -> Flight[T, H]:
        """`fly` lands the flight, hands over, or raises a KalpiError for all."""
        flight: Flight[T, H] = Flight(moment)
        self._flying[key] = flight
        flight.task = task = asyncio.create_task(self._run(key, flight, fly), name="flight")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_failure)
        return flight

    async def close(self) -> None:
        await asyncio.gather(*map(end_task, tuple(self._tasks)))

    async def _run(self, key: bytes, flight: Flight[T, H], fly: Callable[[Flight[T, H]], Awaitable[None]]) -> None:
        try:
            await fly(flight)
        except Exception as error:
            flight.fail(error)
            if not isinstance(error, KalpiError):
                raise
        finally:
            flight.land(None)
            if self._flying.get(key) is flight:
                del self._flying[key]
