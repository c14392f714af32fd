"""What tenants have instead of their tier's, and what was changed, as an administrator sees and changes it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from ratelimit_service.api.dependencies import ADMINISTRATOR, AfterTenant, Before, Domain, From, Limit
from ratelimit_service.api.schemas import ChangePage, GivenReason, OverrideAnswer, OverrideBody, OverridePage
from ratelimit_service.domain.model import Noun, OverrideState
from ratelimit_service.domain.ports import ChangeFilter

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin/limits", tags=["admin"], dependencies=ADMINISTRATOR)
Text = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]


@router.get("/tenants", summary="Tenants that have other limits than their tier's")
async def overrides(
    domain: Domain,
    state: Annotated[OverrideState | None, Query(description="these alone")] = None,
    limit: Limit = 50,
    cursor: AfterTenant = None,
) -> OverridePage:
    """By the tenants' ids. What has ended stays for a week, and then in the changes alone."""
    rows = await domain.overriding.list(state, after=cursor, limit=limit + 1)
    return OverridePage.of(rows, limit, domain.clock())


@router.get("/tenants/{tenant_id}", summary="What one tenant has instead of its tier's")
async def override(tenant_id: UUID, domain: Domain) -> OverrideAnswer:
    return OverrideAnswer.of(await domain.overriding.get(tenant_id), domain.clock())


@router.put("/tenants/{tenant_id}", summary="Give a tenant other limits or entitlements than its tier's")
async def set_override(tenant_id: UUID, body: OverrideBody, domain: Domain, origin: From) -> OverrideAnswer:
    """In place of those it was given before. They begin and end by their dates on every gateway, and within a second of this."""
    given = await domain.overriding.set(tenant_id, body.override(), body.reason, origin)
    return OverrideAnswer.of(given, domain.clock())


@router.delete("/tenants/{tenant_id}", status_code=204, summary="Let a tenant have what its tier says")
async def remove_override(tenant_id: UUID, reason: Annotated[GivenReason, Query()], domain: Domain, origin: From) -> None:
    await domain.overriding.remove(tenant_id, reason, origin)


@router.get("/changes", summary="What was changed of plans, overrides and counters, by whom and why: newest first")
async def changes(
    domain: Domain,
    noun: Annotated[Noun | None, Query(description="of these alone")] = None,
    subject: Annotated[
        Text | None, Query(description="a plan's version, a tenant's id, or a counter's `user:`, `tenant:` or `ip:…`")
    ] = None,
    actor: Annotated[Text | None, Query(description="who did it: a user's id, or `svc:…`")] = None,
    limit: Limit = 50,
    cursor: Before = None,
) -> ChangePage:
    rows = await domain.changes.page(ChangeFilter(noun, subject, actor), before=cursor, limit=limit + 1)
    return ChangePage.of(rows, limit)
