"""One's own API keys."""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter

from auth_service.api.dependencies import After, Domain, From, Limit, Me, NotStored
from auth_service.api.schemas.api_keys import ApiKeyPage, NewApiKey, NewApiKeyAnswer

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth/api-keys", tags=["auth"])


@router.post("", status_code=201, dependencies=[NotStored], summary="Create an API key")
async def create_key(body: NewApiKey, caller: Me, domain: Domain, origin: From) -> NewApiKeyAnswer:
    """The key is shown this once."""
    expires_in = timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None
    secret, key = await domain.keys.create(caller, body.name, expires_in, origin)
    return NewApiKeyAnswer(
        id=key.id,
        name=key.name,
        key_hint=key.key_hint,
        created_at=key.created_at,
        expires_at=key.expires_at,
        api_key=secret,
    )


@router.get("", summary="Your API keys, newest first")
async def keys(caller: Me, domain: Domain, limit: Limit = 50, cursor: After = None) -> ApiKeyPage:
    return ApiKeyPage.of(await domain.keys.list(caller, before=cursor, limit=limit + 1), limit)


@router.delete("/{key_id}", status_code=204, summary="Delete an API key")
async def delete_key(key_id: UUID, caller: Me, domain: Domain, origin: From) -> None:
    await domain.keys.revoke(caller, key_id, origin)
