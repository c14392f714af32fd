"""GET /analytics/…: everybody's requests, for administrators."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ratelimit_service.api.dependencies import Domain, Now
from ratelimit_service.api.written import TABLE, FormatChoice, written
from ratelimit_service.domain.analytics import Analytics, GrowthStep, LatencyBy, TopBy, TopOrder, changes, latencies, overview
from ratelimit_service.domain.history import COUNTS, Window, window_of
from ratelimit_service.domain.rollups import Grain
from shared.days import Day
from shared.guard import require_role, require_scope
from shared.scopes import ADMIN

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"], dependencies=[require_role("admin"), require_scope(ADMIN)])
_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")
_NEWEST = 20


class Percentiles(BaseModel):
    """Within 5 % of the exact nearest rank."""

    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Totals(Percentiles):
    requests: int
    units: Annotated[int, Field(description="of the days' quotas")]
    succeeded: int
    rate_limited: int
    client_errors: int
    server_errors: int
    cache_hits: int
    bytes_out: int


class TotalsAt(Totals):
    at: datetime


class Answer(BaseModel):
    start_date: date
    end_date: date


class OverviewAnswer(Answer):
    """`lost_events` could not be told by the gateways, of the last nine days; they are in no other number."""

    grain: Grain
    totals: Totals
    tenants: int
    users: int
    keys: int
    lost_events: int
    lost_units: int
    data: list[TotalsAt]


class TopRow(BaseModel):
    name: str
    requests: int
    units: int
    failed: int


class TopAnswer(Answer):
    """Of indicators and symbols, `other` are those that are not counted by name."""

    by: TopBy
    order: TopOrder
    data: list[TopRow]


class LatencyRow(Percentiles):
    name: str
    requests: int
    mean_ms: float


class LatencyAnswer(Answer):
    by: LatencyBy
    data: list[LatencyRow]


class ErrorRow(BaseModel):
    status: int
    method: str
    endpoint: str
    requests: int
    share: Annotated[float, Field(description="of all that failed")]


class NewestError(BaseModel):
    at: datetime
    request_id: str
    status: int
    method: str
    endpoint: str
    tenant_id: UUID
    user_id: UUID
    key_id: UUID


class ErrorsAnswer(Answer):
    """`newest` are the last of them, as far back as the log is kept."""

    data: list[ErrorRow]
    newest: list[NewestError]


class GrowthRow(BaseModel):
    """`day` is the first of its week (Monday) or month; `change` how much more was asked than before, as a share."""

    day: date
    requests: int
    units: int
    tenants: int
    users: int
    new_users: int
    change: float | None


class GrowthAnswer(Answer):
    step: GrowthStep
    data: list[GrowthRow]


async def _analytics(services: Domain) -> Analytics:
    return services.analytics


async def _window(
    *,
    now: Now,
    start_date: Annotated[Day | None, Query(description="inclusive, UTC; at most 800 days back from the end")] = None,
    end_date: Annotated[Day | None, Query(description="inclusive; today unless given")] = None,
) -> Window:
    return window_of(start_date, end_date, "day", now.date())


Reads = Annotated[Analytics, Depends(_analytics)]
During = Annotated[Window, Depends(_window)]
Most = Annotated[int, Query(ge=1, le=200, description="rows")]


def _about(window: Window) -> dict[str, Any]:
    return {"start_date": window.first, "end_date": window.last}


@router.get("/overview", response_model=OverviewAnswer, responses=TABLE, summary="How much is asked, and how it is answered")
async def overview_(
    request: Request,
    reads: Reads,
    window: During,
    *,
    grain: Annotated[Grain, Query(description="how long a row is; by the minute at most a day, by the hour 31")] = "day",
    format: FormatChoice = None,  # noqa: A002 - the parameter's name
) -> Response:
    """CSV has the rows alone."""
    window_of(window.first, window.last, grain, window.last)
    totals, rows = overview(await reads.traffic(window, grain))
    about = {**_about(window), "grain": grain, "totals": totals, **await reads.active(window)}
    return written(request, format, ("at", *COUNTS, *_PERCENTILES), rows, **about)


@router.get("/top", response_model=TopAnswer, responses=TABLE, summary="Who asks most, and for what")
async def top(
    request: Request,
    reads: Reads,
    window: During,
    *,
    by: Annotated[TopBy, Query(description="of what")] = "tenant",
    order: Annotated[TopOrder, Query(description="the most of which")] = "requests",
    limit: Most = 20,
    format: FormatChoice = None,  # noqa: A002 - as above
) -> Response:
    rows = await reads.top(window, by, order, limit)
    return written(request, format, tuple(TopRow.model_fields), rows, **_about(window), by=by, order=order)


@router.get("/latency", response_model=LatencyAnswer, responses=TABLE, summary="How long answers take")
async def latency(
    request: Request,
    reads: Reads,
    window: During,
    *,
    by: Annotated[LatencyBy, Query(description="of what")] = "endpoint",
    format: FormatChoice = None,  # noqa: A002 - as above
) -> Response:
    """From the request's coming to the last byte, in the gateway."""
    rows = latencies(await reads.slots(window, by))
    return written(request, format, ("name", "requests", "mean_ms", *_PERCENTILES), rows, **_about(window), by=by)


@router.get("/errors", response_model=ErrorsAnswer, responses=TABLE, summary="What is refused or fails")
async def errors(
    request: Request,
    reads: Reads,
    window: During,
    *,
    limit: Most = 50,
    format: FormatChoice = None,  # noqa: A002 - as above
) -> Response:
    """CSV has the rows alone."""
    rows = await reads.errors(window, limit)
    newest = await reads.newest_errors(window, _NEWEST)
    return written(request, format, tuple(ErrorRow.model_fields), rows, **_about(window), newest=newest)


@router.get("/growth", response_model=GrowthAnswer, responses=TABLE, summary="Whether more is asked, and by more")
async def growth(
    request: Request,
    reads: Reads,
    window: During,
    *,
    step: Annotated[GrowthStep, Query(description="how long a row is")] = "day",
    format: FormatChoice = None,  # noqa: A002 - as above
) -> Response:
    rows = changes(await reads.growth(window, step))
    return written(request, format, tuple(GrowthRow.model_fields), rows, **_about(window), step=step)
