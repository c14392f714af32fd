"""Argon2id in a few threads of its own, off the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from auth_service.domain.errors import HashingBusy

__all__ = ["Argon2Hasher"]

T = TypeVar("T")


class Argon2Hasher:
    """At most `threads` passwords are hashed at a time (each takes the memory its parameters say) and `waiting` wait."""

    def __init__(self, *, time_cost: int, memory_kib: int, parallelism: int, threads: int, waiting: int) -> None:
        self._argon2 = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = threading.BoundedSemaphore(threads + waiting)
        self._nobodys = ""

    async def __aenter__(self) -> Self:
        # made with today's parameters, so that a look at nobody's costs what a look at a user's does
        self._nobodys = await self.hash("nobody has this password")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        return await self._off_loop(lambda: self._argon2.hash(password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        matches = await self._off_loop(lambda: self._matches(hashed or self._nobodys, password))
        return matches and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        return self._argon2.check_needs_rehash(hashed)

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._argon2.verify(hashed, password)
        except VerifyMismatchError:
            return False

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise HashingBusy
        job = self._pool.submit(work)
        # when the work ends, not when the request does: a caller who has gone leaves it running
        job.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(job)
