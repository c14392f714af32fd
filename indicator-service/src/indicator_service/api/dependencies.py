"""What several routes are given."""

from typing import Annotated

from fastapi import Depends, Request

from indicator_service.domain.ports import BarSource
from shared.limits.book import PlanWatcher

__all__ = ["Plans", "Source"]


async def _plans(request: Request) -> PlanWatcher:
    plans: PlanWatcher = request.app.state.plans
    return plans


async def _source(request: Request) -> BarSource:
    source: BarSource = request.app.state.source
    return source


Plans = Annotated[PlanWatcher, Depends(_plans)]
Source = Annotated[BarSource, Depends(_source)]
