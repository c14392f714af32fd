"""One's own API keys."""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Depends

from auth_service.api.dependencies import After, Asking, Domain, From, Limit, Me, NotStored, me_of
from auth_service.api.schemas.api_keys import ApiKeyAnswer, ApiKeyPage, NewApiKey, NewApiKeyAnswer, Rotation
from shared.guard import require_scope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth/api-keys", tags=["auth"], dependencies=[Depends(me_of), require_scope("keys:manage")])


@router.post("", status_code=201, dependencies=[NotStored], summary="Create an API key")
async def create_key(body: NewApiKey, caller: Asking, domain: Domain, origin: From) -> NewApiKeyAnswer:
    """The key is shown this once. One that is made with another key has no scope that this lacks (403), ends no later and is
    valid from no other address; what the body leaves out of the last two is as in the key that asks."""
    return NewApiKeyAnswer.shown(*await domain.keys.create(caller, body.asked(), origin))


@router.get("", summary="Your API keys, newest first")
async def keys(caller: Me, domain: Domain, limit: Limit = 50, cursor: After = None) -> ApiKeyPage:
    """Not those that were deleted, nor those that were rotated and have ended; an expired one is shown until it is swept."""
    return ApiKeyPage.of(await domain.keys.list(caller, before=cursor, limit=limit + 1), limit)


@router.get("/{key_id}", summary="One of your API keys")
async def key(key_id: UUID, caller: Me, domain: Domain) -> ApiKeyAnswer:
    return ApiKeyAnswer.model_validate(await domain.keys.get(caller, key_id))


@router.post("/{key_id}/rotate", status_code=201, dependencies=[NotStored], summary="Put a new key in the place of one")
async def rotate_key(key_id: UUID, caller: Asking, domain: Domain, origin: From, body: Rotation | None = None) -> NewApiKeyAnswer:
    """With the same name, scopes, addresses and end, and shown this once. The old key ends at once, or after `grace_minutes`; one
    that has ended or was rotated before is a 409."""
    grace = timedelta(minutes=body.grace_minutes if body is not None else 0)
    return NewApiKeyAnswer.shown(*await domain.keys.rotate(caller, key_id, grace, origin))


@router.delete("/{key_id}", status_code=204, summary="Delete an API key")
async def delete_key(key_id: UUID, caller: Me, domain: Domain, origin: From) -> None:
    await domain.keys.revoke(caller, key_id, origin)
