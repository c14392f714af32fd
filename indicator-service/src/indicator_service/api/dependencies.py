"""What several routes are given."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request

from indicator_service.domain.ports import BarSource
from indicator_service.domain.saving import CustomIndicators
from shared.errors import Unavailable
from shared.limits.book import PlanWatcher

__all__ = ["Custom", "Plans", "Source", "is_large", "turn"]

_TURN_S = 10.0
_FEW = 50


async def _plans(request: Request) -> PlanWatcher:
    plans: PlanWatcher = request.app.state.plans
    return plans


async def _source(request: Request) -> BarSource:
    source: BarSource = request.app.state.source
    return source


async def _custom(request: Request) -> CustomIndicators:
    custom: CustomIndicators = request.app.state.custom
    return custom


Custom = Annotated[CustomIndicators, Depends(_custom)]
Plans = Annotated[PlanWatcher, Depends(_plans)]
Source = Annotated[BarSource, Depends(_source)]


def is_large(universe: Sequence[str] | None) -> bool:
    """Whether a look at these symbols (None: at all) waits for its turn."""
    return universe is None or len(universe) > _FEW


@asynccontextmanager
async def turn(request: Request, *, needed: bool = True) -> AsyncIterator[None]:
    """For what takes seconds or much memory: one at a time in a process. Unavailable when it is not one's turn soon."""
    if not needed:
        yield
        return
    large: asyncio.Semaphore = request.app.state.large
    try:
        await asyncio.wait_for(large.acquire(), _TURN_S)
    except TimeoutError:
        raise Unavailable("others of its size are being computed", 5) from None
    try:
        yield
    finally:
        large.release()
