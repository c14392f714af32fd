"""Argon2id in a few threads of its own, off the event loop and behind everything else that wants the processor."""

import asyncio
import os
import re
import sys
import threading
import time
from bisect import bisect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from types import TracebackType
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from auth_service.domain.errors import HashingBusy

__all__ = ["Argon2Hasher"]

T = TypeVar("T")
BEGIN_WITHIN_S = 1.5
"""The gateway gives up after 2 s, and a hash takes some 0.1 s, or more where it comes last on the processor."""
_NOBODYS_PASSWORD = "nobody has this password"  # noqa: S105


class Argon2Hasher:
    """At most `threads` passwords are hashed at a time (each takes the memory its parameters say) and `waiting` wait.

    One whose turn comes later than `begin_within_s` after it came is HashingBusy and not hashed: nobody would be there any more
    to read the answer. `clock` gives seconds, from whenever.

    Nobody's hashes are made with the parameters that users' have, and an account that is nobody's has as good a chance of each as
    a user's: else a look at hashes of before would take another time than one at nobody's.
    """

    def __init__(
        self,
        *,
        time_cost: int,
        memory_kib: int,
        parallelism: int,
        threads: int,
        waiting: int,
        begin_within_s: float = BEGIN_WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin_within_s = begin_within_s
        self._clock = clock
        self._argon2 = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_come_last)
        self._places = threading.BoundedSemaphore(threads + waiting)
        self._nobodys: dict[str, str] = {}
        self._users: list[tuple[str, int]] = []

    async def __aenter__(self) -> Self:
        todays = await self.hash(_NOBODYS_PASSWORD)
        self._nobodys = {_parameters(todays): todays}
        self._users = [(_parameters(todays), 1)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        return await self._off_loop(lambda: self._argon2.hash(password))

    async def learn(self, users: Mapping[str, int]) -> None:
        """How many users have a hash of which parameters, as the beginning of a hash says them; HashingBusy."""
        for parameters in users.keys() - self._nobodys.keys():
            made_with = _maker_of(parameters)
            if made_with is not None:
                self._nobodys[parameters] = await self._off_loop(partial(made_with.hash, _NOBODYS_PASSWORD))
        known = [(parameters, count) for parameters, count in sorted(users.items()) if parameters in self._nobodys]
        self._users = known or self._users

    async def verify(self, hashed: str | None, password: str, *, nobody: str) -> bool:
        matches = await self._off_loop(partial(self._matches, hashed or self._nobodys_hash(nobody), password))
        return matches and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        return self._argon2.check_needs_rehash(hashed)

    def _nobodys_hash(self, account: str) -> str:
        """The same each time, and one that nobody outside can foretell, for `account` is a digest under the server's key."""
        bounds = list(accumulate(count for _, count in self._users))
        place = int(account[:12], 16) * bounds[-1] >> 48
        return self._nobodys[self._users[bisect(bounds, place)][0]]

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._argon2.verify(hashed, password)
        except VerifyMismatchError:
            return False

    def _in_time(self, work: Callable[[], T], deadline: float) -> T:
        if self._clock() > deadline:
            raise HashingBusy
        return work()

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise HashingBusy
        job = self._pool.submit(self._in_time, work, self._clock() + self._begin_within_s)
        # when the work ends, not when the request does: a caller who has gone leaves it running
        job.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(job)


def _come_last() -> None:
    """The lanes that argon2 starts for a hash inherit it: what is computed here is what others leave."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _parameters(hashed: str) -> str:
    """All but salt and hash: `$argon2id$v=19$m=65536,t=3,p=4`."""
    return hashed.rsplit("$", 2)[0]


def _maker_of(parameters: str) -> PasswordHasher | None:
    found = re.fullmatch(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)", parameters)
    if found is None:
        return None
    memory_kib, time_cost, parallelism = map(int, found.groups())
    return PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
