"""GET /usage."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from ratelimit_service.domain.control import PlanControl
from ratelimit_service.domain.usage import PolicyUse, usage_of
from shared.clock import Clock
from shared.errors import Forbidden
from shared.guard import Caller
from shared.limits.limiter import Limiter
from shared.limits.plans import Entitlements
from shared.limits.sharing import plan_for, subject_of

__all__ = ["public"]

public = APIRouter(prefix="/api/v1", tags=["usage"])


class UsageAnswer(BaseModel):
    """`policies` are the limits of the tier with what is left of them; `unlimited` names those it does not have."""

    user_id: str
    shared_by: Literal["user", "tenant"]
    tier: str
    as_of: str
    policies: list[PolicyUse]
    concurrency: int | None
    unlimited: list[str]
    entitlements: Entitlements


async def _control(request: Request) -> PlanControl:
    control: PlanControl = request.app.state.control
    return control


async def _limiter(request: Request) -> Limiter:
    limiter: Limiter = request.app.state.limiter
    return limiter


async def _clock(request: Request) -> Clock:
    clock: Clock = request.app.state.shell.clock
    return clock


Control = Annotated[PlanControl, Depends(_control)]


@public.get("/usage", summary="What you have used today")
async def usage(
    caller: Caller, control: Control, limiter: Annotated[Limiter, Depends(_limiter)], clock: Annotated[Clock, Depends(_clock)]
) -> UsageAnswer:
    """All your keys and tokens share these; where `shared_by` is `tenant`, all its members do. The day is UTC's."""
    principal = caller.principal
    plan = control.book.tiers.get(principal.tier)
    if plan is None:
        raise Forbidden(f"no plan is in force for the tier {principal.tier or '-'}")
    plan = plan_for(principal, plan)
    policies = await usage_of(limiter, plan.limits, subject_of(principal))
    limited = {policy.name for policy in policies}
    return UsageAnswer(
        user_id=principal.user_id,
        shared_by="tenant" if principal.quota == "shared" else "user",
        tier=principal.tier,
        as_of=clock().isoformat(timespec="seconds"),
        policies=policies,
        concurrency=plan.limits.concurrency,
        unlimited=[name for name in ("burst", "day") if name not in limited],
        entitlements=plan.entitlements,
    )
