"""Whether the store is there, whether it is the one it was, and how many gateways share it (docs/adr/0017).

A gateway tells the store each second that it is alive. When the store has been away, or is of another epoch (it was emptied),
this gateway decides without it until it has paid what it owes: what it spent meanwhile, and, into an emptied store, what it had
heard of each counter. A new epoch settles for a second and a half, in which every gateway does so, before anybody decides by it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from shared.errors import Unavailable
from shared.limits.counters import MICROSECOND, Counters, Pulse
from shared.logging import get_logger

__all__ = ["SETTLING_S", "Presence"]

BEAT_S = 1.0
_ALIVE_S = 3.5
SETTLING_S = 1.5
_AGAIN_S = 0.05
_log = get_logger("limits")


class Presence:
    """`epoch` is the one that decisions are made by; "" before the store was first heard of. `live` is never 0.

    `restore` raises the counters to what was heard of them, or pays what was spent without the store. It says whether there was
    anything to pay; Unavailable when it could not.
    """

    def __init__(
        self, counters: Counters, gateway: str, proposed: Callable[[], str], restore: Callable[[bool], Awaitable[bool]]
    ) -> None:
        self._counters = counters
        self._gateway = gateway
        self._proposed = proposed
        self._restore = restore
        self._lost = asyncio.Event()
        self._well = asyncio.Event()
        self._settled_epoch = ""
        self.epoch = ""
        self.settled = False
        self.live = 1

    def lose(self) -> None:
        """Something went wrong with the store: nothing is asked of it until it was looked at."""
        self.settled = False
        self._well.clear()
        self._lost.set()

    async def look(self) -> bool:
        """Once; whether decisions are made with the store from now on."""
        try:
            pulse = await self._counters.heartbeat(self._gateway, self._proposed(), _ALIVE_S)
            await self._adopt(pulse)
        except Unavailable:
            self.settled = False
            return False
        # once settled, whatever its age is by a clock that was set; one of the future is of such a clock
        if pulse.epoch != self._settled_epoch and 0 <= pulse.age < SETTLING_S * MICROSECOND:
            self.live = max(self.live, pulse.live)  # others may not have said yet that they are alive
            return False
        self._settled_epoch = pulse.epoch
        self.live = max(pulse.live, 1)
        return await self._settle()

    async def _adopt(self, pulse: Pulse) -> None:
        if pulse.epoch != self.epoch:
            self.settled = False
            if self.epoch:
                _log.warning("the store was emptied; its counters are raised to what is known here")
                await self._restore(True)  # noqa: FBT003
            self.epoch = pulse.epoch

    async def _settle(self) -> bool:
        try:
            while not self.settled:
                # while it is being paid, more may be spent
                self.settled = not await self._restore(False)  # noqa: FBT003
        except Unavailable:
            return False
        self._well.set()
        return True

    async def wait(self, seconds: float) -> None:
        """Until it has settled, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._well.wait()

    async def keep(self) -> None:
        """For as long as it runs."""
        while True:
            self._lost.clear()
            well = await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S if well else _AGAIN_S):
                    await self._lost.wait()

    async def leave(self) -> None:
        with suppress(Unavailable):
            await self._counters.heartbeat(self._gateway, self._proposed(), 0)
