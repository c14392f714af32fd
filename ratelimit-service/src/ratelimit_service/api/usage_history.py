"""GET /usage/history: what a caller has asked for, or their tenant."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ratelimit_service.api.cursors import decode, encode
from ratelimit_service.api.dependencies import Domain, Now
from ratelimit_service.api.written import TABLE, FormatChoice, written
from ratelimit_service.domain.history import COUNTS, By, HistoryFilter, window_of
from ratelimit_service.domain.rollups import Grain
from shared.days import Day
from shared.errors import Forbidden, InvalidInput
from shared.guard import Caller
from shared.principal import Principal

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])
_NAMES: dict[By, tuple[str, ...]] = {"endpoint": ("method", "endpoint"), "key": ("key_id",), "user": ("user_id",)}


class HistoryRow(BaseModel):
    """`at` is the beginning of the day, hour or minute, in UTC. `requests` are those that succeeded (below 400), were rate
    limited (429), or failed by the client's fault (another 4xx) or a server's (5xx). A `key_id` of zeros is a session's."""

    at: datetime
    method: str | None = None
    endpoint: str | None = None
    key_id: UUID | None = None
    user_id: UUID | None = None
    requests: int
    units: Annotated[int, Field(description="of the day's quota")]
    succeeded: int
    rate_limited: int
    client_errors: int
    server_errors: int
    cache_hits: int
    bytes_out: int
    mean_ms: float


class HistoryPage(BaseModel):
    """Rows ascend in time. `method` and `endpoint`, `key_id` or `user_id` are in them as `by` says."""

    of: Literal["me", "tenant"]
    grain: Grain
    by: By
    start_date: date
    end_date: date
    data: list[HistoryRow]
    next_cursor: str | None


@router.get("/history", response_model=HistoryPage, responses=TABLE, summary="What you have used, by day and endpoint")
async def history(
    request: Request,
    caller: Caller,
    services: Domain,
    now: Now,
    *,
    of: Annotated[Literal["me", "tenant"], Query(description="`tenant`, for its owners and admins: all its members")] = "me",
    grain: Annotated[Grain, Query(description="how long a row is")] = "day",
    by: Annotated[By, Query(description="what rows of one time are told apart by; `user` with `of=tenant`")] = "endpoint",
    key_id: Annotated[UUID | None, Query(description="only what was asked with this key")] = None,
    start_date: Annotated[Day | None, Query(description="inclusive; by the minute a day, by the hour 31, by the day 800")] = None,
    end_date: Annotated[Day | None, Query(description="inclusive; today unless given")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="rows in a page")] = 100,
    cursor: Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before")] = None,
    format: FormatChoice = None,  # noqa: A002 - the parameter's name
) -> Response:
    """A request is counted some seconds after it was answered. Days are UTC's; minutes and hours are not kept as long as days."""
    tenant_id, user_id = _whose(caller.principal, of)
    if by == "user" and of != "tenant":
        raise InvalidInput.field("query", "by", msg="user is told apart with of=tenant alone")
    window = window_of(start_date, end_date, grain, now.date())
    question = f"{tenant_id} {user_id} {key_id} {grain} {by} {window}"
    names = _NAMES[by]
    after = decode(question, cursor, len(names), ids=by != "endpoint") if cursor is not None else None
    asked = HistoryFilter(tenant_id, user_id, key_id, window, grain, by, after, limit + 1)
    rows = await services.history.rows(asked)
    page = rows[:limit]
    next_cursor = encode(question, page[-1]["at"], [str(page[-1][name]) for name in names]) if len(rows) > limit else None
    about = {"of": of, "grain": grain, "by": by, "start_date": window.first, "end_date": window.last, "next_cursor": next_cursor}
    return written(request, format, ("at", *names, *COUNTS, "mean_ms"), page, cursor=next_cursor, **about)


def _whose(principal: Principal, of: str) -> tuple[UUID, UUID | None]:
    """Tenant and user; Forbidden for a tenant's history where the caller is none of its owners and admins, or is a service."""
    if principal.kind != "user":
        raise Forbidden("a service has no history")
    if of == "me":
        return UUID(principal.tenant_id), UUID(principal.user_id)
    if principal.tenant_role is None:
        raise Forbidden("only a tenant's owners and admins see its history")
    return UUID(principal.tenant_id), None
