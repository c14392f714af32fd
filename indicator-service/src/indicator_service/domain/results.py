"""Which computed answers are worth keeping, under which name, and for how long.

Most indicators cost less than asking a store about them. So only those are kept, and only those are looked for, whose measured
cost passed a threshold; how costly one is, is remembered by what it depends on: the indicator, its parameters, how many bars.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from indicator_service.domain.catalogue import EDITION

__all__ = ["ALL", "ResultKey", "ResultStore", "Results", "TimesToLive", "digest_of", "version_of_many"]

_REMEMBERED = 4096
ALL = "*"
"""Stands for the symbol of an answer that rests on many."""


@dataclass(frozen=True, slots=True)
class ResultKey:
    """`fields` is every field of the request as it was resolved; two answers of one key are the same bytes, and those of another
    release are of other keys. Of an answer that rests on many symbols, `symbol` is ALL, and the version is `version_of_many`."""

    symbol: str
    name: str
    fields: str
    data_version: str

    @property
    def text(self) -> str:
        return f"indicator:{self.symbol}:{self.name}:{digest_of(f'{EDITION} {self.fields}')}:{self.data_version}"


def version_of_many(versions: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """Changes when any of the data versions, by symbol, does, or what there is of the symbols that have none."""
    told = [f"{symbol}@{version}" for symbol, version in sorted(versions.items())]
    told += [f"{symbol} {reason}" for symbol, reason in sorted(missing.items())]
    return digest_of("\n".join(told))


def digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


Make = Callable[[], Awaitable[bytes]]


class ResultStore(Protocol):
    """A store that is away finds nothing and keeps nothing: that only slows."""

    async def get(self, key: ResultKey) -> bytes | None: ...

    async def has(self, key: ResultKey) -> bool: ...

    async def put(self, key: ResultKey, answer: bytes, ttl_s: int) -> None: ...


@dataclass(frozen=True, slots=True)
class TimesToLive:
    """In seconds: while the newest bar of the answer may still change, and once it cannot. Of a group of the catalogue, `groups`
    says the longest."""

    forming: int
    closed: int
    groups: Mapping[str, int]

    def of(self, group: str, *, forming: bool) -> int:
        whole = self.forming if forming else self.closed
        return min(whole, self.groups.get(group, whole))


@dataclass(slots=True, eq=False)
class Results:
    """`clock` counts seconds."""

    store: ResultStore
    ttl: TimesToLive
    min_cost_s: float
    clock: Callable[[], float]
    _costs: OrderedDict[object, float] = field(default_factory=OrderedDict, init=False)
    _under_way: dict[str, asyncio.Task[bytes]] = field(default_factory=dict, init=False)

    def is_costly(self, work: object, *, guess: bool) -> bool:
        """Whether `work` took long when it was last measured; the guess where it never was."""
        cost = self._costs.get(work)
        return guess if cost is None else cost >= self.min_cost_s

    async def is_kept(self, key: ResultKey, work: object, *, guess: bool) -> bool:
        """Whether `answer` would not have to make it."""
        return self.is_costly(work, guess=guess) and await self.store.has(key)

    async def answer(
        self,
        key_of: Callable[[], ResultKey],
        work: object,
        ttl_s: int,
        make: Make,
        *,
        guess: bool,
        holds: Callable[[], bool] = lambda: True,
    ) -> bytes:
        """The answer that is kept, or what `make` makes: of costly work once for all who ask for it meanwhile. It is kept if,
        once it is made, the key `holds`: of bars that `make` fetches itself, those may be newer."""
        if not self.is_costly(work, guess=guess):
            # what is long the first time alone (dates not yet written as text) is not worth keeping
            return await self._measured(work, make)
        key = key_of()
        call = self._under_way.get(key.text)
        if call is None:
            call = self._under_way[key.text] = asyncio.create_task(self._kept_or_made(key, work, ttl_s, make, holds))
            call.add_done_callback(lambda task: self._ended(key, task))
        return await asyncio.shield(call)

    async def _kept_or_made(self, key: ResultKey, work: object, ttl_s: int, make: Make, holds: Callable[[], bool]) -> bytes:
        if (kept := await self.store.get(key)) is not None:
            return kept
        made = await self._measured(work, make)
        if self.is_costly(work, guess=False) and holds():
            await self.store.put(key, made, ttl_s)
        return made

    async def _measured(self, work: object, make: Make) -> bytes:
        began = self.clock()
        made = await make()
        self._costs[work] = self.clock() - began
        self._costs.move_to_end(work)
        if len(self._costs) > _REMEMBERED:
            self._costs.popitem(last=False)
        return made

    def _ended(self, key: ResultKey, call: asyncio.Task[bytes]) -> None:
        del self._under_way[key.text]
        if not call.cancelled():
            call.exception()  # whoever still waits gets it
