"""What several routes are given."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request

from indicator_service.domain.ports import BarSource
from indicator_service.domain.saving import CustomIndicators
from indicator_service.domain.turns import Turns
from shared.limits.book import PlanWatcher
from shared.principal import Envelope

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
    """For what takes seconds or much memory. Raises as `Turns.of`, of the account that asks."""
    if not needed:
        yield
        return
    turns: Turns = request.app.state.large
    envelope: Envelope = request.state.envelope
    async with turns.of(envelope.principal.account, _TURN_S):
        yield
