"""Which of a caller's requests are computed at a time: each holds one of his slots, in the store.

A slot of a caller who is leased (docs/adr/0022) stays here for his next request, for a tenth of a second and a hundredth of what
he may hold: to others it counts as in use (docs/adr/0026).
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

from gateway.domain.errors import TooManyAtOnce
from shared.errors import Unavailable
from shared.ids import IdFactory
from shared.limits.limiter import Limiter, Purse
from shared.logging import get_logger

__all__ = ["SPARE_S", "Holding", "Slots", "slots_of"]

RENEW_S = 20.0
SPARE_S = 0.1
_LARGEST_PART = 100
_log = get_logger("limits")

T = TypeVar("T")


class Slots:
    def __init__(self, limiter: Limiter, new_id: IdFactory) -> None:
        self._limiter = limiter
        self._new_id = new_id
        self._held: dict[str, Purse] = {}
        self._spare: dict[Purse, _Spare] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def new_holder(self) -> str:
        return str(self._new_id())

    async def take(self, purse: Purse) -> str:
        """Its holder, who gives it back; TooManyAtOnce."""
        spare = self._spare.get(purse)
        if spare is not None and spare.holders:
            return spare.take()
        holder = self.new_holder()
        try:
            taken = await self._limiter.take_slot(purse, holder)
        except BaseException:
            self._limiter.release_slot(purse, holder)  # who was cancelled or not answered may hold one
            raise
        if not taken:
            raise TooManyAtOnce(slots_of(purse))
        self.hold(purse, holder)
        return holder

    def hold(self, purse: Purse, holder: str) -> None:
        """One that the store has given."""
        self._held[holder] = purse

    def give_back(self, purse: Purse, holder: str) -> None:
        spare = self._spare.get(purse)
        if not self._limiter.leases(purse) or (0 if spare is None else len(spare.holders)) >= slots_of(purse) // _LARGEST_PART:
            self._release(purse, holder)
            return
        if spare is None:
            spare = self._spare[purse] = _Spare()
        spare.holders.append(holder)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SPARE_S, self._sweep)

    async def keep(self) -> None:
        """For as long as it runs, a slot in use does not run out, however long its answer takes."""
        while True:
            await asyncio.sleep(RENEW_S)
            await asyncio.gather(*(self._renew(holder, purse) for holder, purse in self._held.items()))

    def close(self) -> None:
        """Nobody comes any more."""
        for purse, spare in self._spare.items():
            for holder in spare.holders:
                self._release(purse, holder)
        self._spare.clear()

    async def _renew(self, holder: str, purse: Purse) -> None:
        try:
            await self._limiter.take_slot(purse, holder)
        except Unavailable:
            _log.warning("a slot was not renewed")
        if holder not in self._held:
            # given back before it was renewed, which took it again
            self._limiter.release_slot(purse, holder)

    def _release(self, purse: Purse, holder: str) -> None:
        del self._held[holder]
        self._limiter.release_slot(purse, holder)

    def _sweep(self) -> None:
        for purse, spare in list(self._spare.items()):
            for holder in spare.not_needed():
                self._release(purse, holder)
            if not spare.holders:
                del self._spare[purse]
        self._sweeping = asyncio.get_running_loop().call_later(SPARE_S, self._sweep) if self._spare else None


class _Spare:
    """Of one caller. `_least` is how many there were at any time since the last look."""

    __slots__ = ("_least", "holders")

    def __init__(self) -> None:
        self.holders: list[str] = []
        self._least = 0

    def take(self) -> str:
        holder = self.holders.pop()
        self._least = min(self._least, len(self.holders))
        return holder

    def not_needed(self) -> list[str]:
        unused = self.holders[: self._least]
        del self.holders[: self._least]
        self._least = len(self.holders)
        return unused


class Holding(Generic[T]):
    """For `async with`: in there a slot is held, which `taking` has taken, with what it gives beside the slot's holder."""

    __slots__ = ("_holder", "_purse", "_slots", "_taking")

    def __init__(self, slots: Slots, purse: Purse, taking: Coroutine[Any, Any, tuple[T, str]]) -> None:
        self._slots = slots
        self._purse = purse
        self._taking = taking

    async def __aenter__(self) -> T:
        given, self._holder = await self._taking
        return given

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._slots.give_back(self._purse, self._holder)


def slots_of(purse: Purse) -> int:
    return purse.slot.quota if purse.slot is not None else 0
