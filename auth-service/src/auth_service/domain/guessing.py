"""Guessing passwords is slowed down per login name, known or not, before anything is hashed.

The first four failures cost nothing; from then on the next attempt waits 1 s, 2 s, 4 s … up to five minutes. A success, or an
hour without failure, forgets. Attempts at one name are taken in turn, so that guesses sent all at once are counted as well.
Sessions and keys are never touched: an attacker delays only logging in by this name.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from auth_service.domain.errors import TooManyGuesses
from auth_service.domain.model import User
from auth_service.domain.passwords import prepared
from auth_service.domain.ports import Database, Failures, Hasher
from shared.clock import Clock

__all__ = ["FORGET_AFTER", "PasswordGate", "guess_key", "wait_after"]

FREE_FAILURES = 3
LONGEST_WAIT = timedelta(minutes=5)
FORGET_AFTER = timedelta(hours=1)


def wait_after(failures: int) -> timedelta:
    """How long after the last of so many failures in a row nothing is tried."""
    if failures <= FREE_FAILURES:
        return timedelta(0)
    # the exponent is bounded before it is used: failures may be any count
    return min(timedelta(seconds=2 ** min(failures - FREE_FAILURES - 1, 20)), LONGEST_WAIT)


def guess_key(kind: str, name: str) -> str:
    """What failures are counted by. A digest, because people type passwords into the wrong field."""
    return hashlib.sha256(f"{kind}:{name.strip().casefold()}".encode()).hexdigest()


def refuse_while_waiting(failures: Failures | None, now: datetime) -> None:
    """TooManyGuesses until the wait after the last failure is over."""
    if failures is None or now - failures.last_at >= FORGET_AFTER:
        return
    left = (failures.last_at + wait_after(failures.count) - now).total_seconds()
    if left > 0:
        raise TooManyGuesses(math.ceil(left))


class PasswordGate:
    """Checks one password with exactly one verification, whether or not there is such a user."""

    def __init__(self, database: Database, hasher: Hasher, clock: Clock) -> None:
        self._database = database
        self._hasher = hasher
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, key: str, find: Callable[[], Awaitable[User | None]], password: str) -> User | None:
        """The active user whose password this is, else None (and a failure is counted under `key`)."""
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            failures = await self._database.failures.get(key)
            refuse_while_waiting(failures, self._clock())
            user = await find()
            right = await self._hasher.verify(user.password_hash if user else None, prepared(password))
            passed = user if user is not None and right and user.is_active else None
            if passed is None:
                await self._database.failures.count(key, self._clock(), forget_after=FORGET_AFTER)
            elif failures is not None:
                await self._database.failures.clear(key)
            return passed
