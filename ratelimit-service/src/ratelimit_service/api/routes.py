"""GET /usage, and what an administrator sees of others' and sets back."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ratelimit_service.api.dependencies import ADMINISTRATOR, Domain, From, Services
from ratelimit_service.api.schemas import ResetAnswer, ResetBody
from ratelimit_service.domain.subjects import Kind
from ratelimit_service.domain.usage import PolicyUse, usage_of
from shared.guard import Caller
from shared.limits.plans import Entitlements
from shared.limits.sharing import subject_of
from shared.principal import Principal

__all__ = ["admin", "public"]

public = APIRouter(prefix="/api/v1", tags=["usage"])
admin = APIRouter(prefix="/api/v1/admin/limits", tags=["admin"], dependencies=ADMINISTRATOR)


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

    @classmethod
    async def of(cls, principal: Principal, domain: Services) -> Self:
        plan = domain.deciding.plan(principal)
        policies = await usage_of(domain.limiter, plan.limits, subject_of(principal))
        limited = {policy.name for policy in policies}
        return cls(
            user_id=principal.user_id,
            shared_by="tenant" if principal.quota == "shared" else "user",
            tier=principal.tier,
            as_of=domain.clock().isoformat(timespec="seconds"),
            policies=policies,
            concurrency=plan.limits.concurrency.quota if plan.limits.concurrency is not None else None,
            unlimited=[name for name in ("burst", "day") if name not in limited],
            entitlements=plan.entitlements,
        )


@public.get("/usage", summary="What you have used today")
async def usage(caller: Caller, domain: Domain) -> UsageAnswer:
    """All your keys and tokens share these; where `shared_by` is `tenant`, all its members do. The day is UTC's."""
    return await UsageAnswer.of(caller.principal, domain)


@admin.get("/usage", summary="What a user has used today")
async def usage_of_another(
    domain: Domain,
    user_id: UUID,
    tenant_id: UUID,
    tier: Annotated[str, Query(max_length=64, description="the tenant's, or where it has none the user's")],
    quota: Annotated[Literal["shared", "split"] | None, Query(description="of a tenant that has a tier")] = None,
    members: Annotated[int | None, Query(ge=1, le=1_000_000, description="by how many it is split")] = None,
) -> UsageAnswer:
    """As the user would see it: who has which tier and tenant is what `/admin/users` and `/admin/tenants` tell."""
    who = {"user_id": str(user_id), "tenant_id": str(tenant_id), "tier": tier}
    return await UsageAnswer.of(Principal(kind="user", **who, quota=quota, members=members), domain)


@admin.post("/{kind}/{name}/reset", summary="Forget what a user, a tenant or an address has used")
async def reset(kind: Kind, name: str, body: ResetBody, domain: Domain, origin: From) -> ResetAnswer:
    """Of the day and of bursts. What a gateway holds on lease may be spent beside the quota that begins anew."""
    return ResetAnswer(before=dict(await domain.resetting.reset(kind, name, body.reason, origin)))
