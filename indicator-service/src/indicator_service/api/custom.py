"""Users' own indicators: saved, changed, shown and deleted. They are used like any other, on the routes of the catalogue."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from indicator_service.api.custom_schemas import CustomAnswer, CustomBody, CustomPage, CustomVersions, NewCustomBody
from indicator_service.api.dependencies import Custom, Plans
from indicator_service.api.entitled import check_feature, check_indicators
from indicator_service.api.own import owner_of
from indicator_service.domain.custom import NAME_PATTERN, Draft
from indicator_service.domain.own import check_draft
from shared.guard import Caller, require_scope
from shared.limits.book import PlanWatcher
from shared.principal import Envelope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/indicators/custom", tags=["custom indicators"])

MaySave = require_scope("indicators:read")
"""Saving takes what using takes (gateway/README.md, Scopes)."""

Name = Annotated[str, Path(pattern=NAME_PATTERN, description="as you have called it", examples=["trend"])]
Limit = Annotated[int, Query(ge=1, le=100, description="rows in a page")]
After = Annotated[str | None, Query(alias="cursor", pattern=NAME_PATTERN, description="`next_cursor` of the page before")]
Number = Annotated[int | None, Query(alias="version", ge=1, le=2**31 - 1, description="one that is kept; default: the newest")]


@router.get("", summary="Your own indicators, by name")
async def page(caller: Caller, custom: Custom, limit: Limit = 50, cursor: After = None) -> CustomPage:
    """Yours alone: nobody else sees or uses them."""
    return CustomPage.of(await custom.page(owner_of(caller), after=cursor, limit=limit + 1), limit)


@router.post("", status_code=201, dependencies=[MaySave], summary="Save an expression as an indicator of your own")
async def create(body: NewCustomBody, caller: Caller, plans: Plans, custom: Custom) -> CustomAnswer:
    """It is in your catalogue at once, and works wherever an indicator does: by its name on the indicators' routes, and called in
    expressions. The expression calls indicators of the catalogue; its parameters are constants in it.
    """
    draft = _checked(body, caller, plans)
    return CustomAnswer.of(await custom.create(owner_of(caller), body.name, draft))


@router.get("/{name}", summary="One of your own indicators")
async def show(name: Name, caller: Caller, custom: Custom, version: Number = None) -> CustomVersions:
    """The newest version, or another that is kept; the newest 50 are."""
    return CustomVersions.of(*await custom.get(owner_of(caller), name, version))


@router.put("/{name}", dependencies=[MaySave], summary="Change one of your own indicators")
async def change(name: Name, body: CustomBody, caller: Caller, plans: Plans, custom: Custom) -> CustomAnswer:
    """A new version, in force at once; what the body leaves out is as in a new one."""
    draft = _checked(body, caller, plans)
    return CustomAnswer.of(await custom.change(owner_of(caller), name, draft))


@router.delete("/{name}", status_code=204, dependencies=[MaySave], summary="Delete one of your own indicators")
async def delete(name: Name, caller: Caller, custom: Custom) -> None:
    """With all its versions; the name is free again."""
    await custom.delete(owner_of(caller), name)


def _checked(body: CustomBody, caller: Envelope, plans: PlanWatcher) -> Draft:
    check_feature(caller, plans, "custom_indicators")
    draft = body.draft()
    check_indicators(caller, plans, check_draft(draft, "body", "expression"))
    return draft
