"""API keys of all users as an administrator sees them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from auth_service.api.dependencies import ADMINISTRATOR, After, Domain, From, Limit
from auth_service.api.schemas.admin_api_keys import AdminKeyPage
from auth_service.domain.ports import KeyFilter

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin/api-keys", tags=["admin"], dependencies=ADMINISTRATOR)


@router.get("", summary="API keys, newest first")
async def keys(
    domain: Domain,
    user_id: Annotated[UUID | None, Query(description="whose")] = None,
    tenant_id: Annotated[UUID | None, Query(description="of whose members")] = None,
    limit: Limit = 50,
    cursor: After = None,
) -> AdminKeyPage:
    """Those that are not deleted."""
    found = await domain.keys.list_all(KeyFilter(user_id, tenant_id), before=cursor, limit=limit + 1)
    return AdminKeyPage.of(found, limit)


@router.delete("/{key_id}", status_code=204, summary="Delete anybody's API key")
async def delete_key(key_id: UUID, domain: Domain, origin: From) -> None:
    await domain.keys.revoke(await domain.keys.owner(key_id), key_id, origin)
