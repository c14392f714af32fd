"""The plans as an administrator sees and changes them."""

from typing import Annotated

from fastapi import APIRouter, Path

from ratelimit_service.api.dependencies import ADMINISTRATOR, Before, Domain, From, Limit
from ratelimit_service.api.schemas import (
    PlansAnswer,
    PlansPublication,
    PlansRollback,
    PlanText,
    TrialAnswer,
    VersionAnswer,
    VersionPage,
    VersionText,
)
from ratelimit_service.domain.versions import digest_of
from shared.errors import Unavailable

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin/plans", tags=["admin"], dependencies=ADMINISTRATOR)


@router.get("", summary="The plans in force")
async def plans(domain: Domain) -> PlansAnswer:
    book = domain.plans.book
    try:
        newest = await domain.publishing.newest()
    except Unavailable:  # takes away history, and not what is in force
        newest = None
    rules = book.model_dump(mode="json", exclude_unset=True, exclude={"overrides"})
    return PlansAnswer(
        rules=rules,
        newest=VersionText.of(newest) if newest is not None else None,
        in_force=newest.rules == digest_of(book) if newest is not None else None,
    )


@router.post("/validate", summary="Whether a plan file is fit, and what it would change")
async def validate(body: PlanText, domain: Domain) -> TrialAnswer:
    """An unfit one is a 422 that names every bad rule with its place. Nothing is changed."""
    return TrialAnswer.of(await domain.publishing.try_out(body.text))


@router.put("", summary="Put other plans in force")
async def publish(body: PlansPublication, domain: Domain, origin: From) -> VersionAnswer:
    """Whole or not at all; every gateway has them within a second. An operator's plan file that changes later replaces them."""
    version = await domain.publishing.publish(body.text, replaces=body.replaces, reason=body.reason, origin=origin)
    return VersionAnswer.of(version)


@router.get("/history", summary="Versions of the plans, newest first")
async def history(domain: Domain, limit: Limit = 50, cursor: Before = None) -> VersionPage:
    return VersionPage.of(await domain.publishing.history(before=cursor, limit=limit + 1), limit)


@router.get("/history/{version}", summary="One of them, with its text")
async def version(version: Annotated[int, Path(ge=1, le=(1 << 63) - 1)], domain: Domain) -> VersionText:
    return VersionText.of(await domain.publishing.version(version))


@router.post("/rollback", summary="Put an older version in force again")
async def rollback(body: PlansRollback, domain: Domain, origin: From) -> VersionAnswer:
    """As a new version with the older one's text."""
    restored = domain.publishing.restore(body.version, replaces=body.replaces, reason=body.reason, origin=origin)
    return VersionAnswer.of(await restored)
