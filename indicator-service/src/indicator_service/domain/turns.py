"""What takes seconds or much memory is done one at a time in a process, and nobody's many keep the others from theirs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from indicator_service.domain.errors import WaitsAlready
from shared.errors import Unavailable

__all__ = ["Turns"]

_AGAIN_S = 5


class Turns:
    """They come in the order they are asked for; of one account at most one waits, beside the one that it may have."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(1)
        self.waiting: set[str] = set()
        """Accounts of which one waits."""

    @asynccontextmanager
    async def of(self, account: str, patience_s: float) -> AsyncIterator[None]:
        """WaitsAlready where one of the account's does, Unavailable when it is not one's turn within `patience_s`."""
        if account in self.waiting:
            raise WaitsAlready(_AGAIN_S)
        self.waiting.add(account)
        try:
            async with asyncio.timeout(patience_s):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable("others of its size are being computed", _AGAIN_S) from None
        finally:
            self.waiting.discard(account)
        try:
            yield
        finally:
            self._free.release()
