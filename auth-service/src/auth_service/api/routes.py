"""Registering, logging in and out, one's own account and keys."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form

from auth_service.api.dependencies import After, Domain, From, Limit, NotStored, UserId
from auth_service.api.schemas import (
    ApiKeyPage,
    EmailChange,
    LoginForm,
    NewApiKey,
    NewApiKeyAnswer,
    PasswordChange,
    RefreshBody,
    RegisterBody,
    TokenAnswer,
    UserAnswer,
)
from auth_service.domain.accounts import NewUser

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])


@router.post("/register", status_code=201, summary="Become a user")
async def register(body: RegisterBody, domain: Domain, origin: From) -> UserAnswer:
    """Of the tier `free`, always."""
    user = await domain.accounts.register(NewUser(body.username, body.email, body.password), origin)
    return UserAnswer.model_validate(user)


@router.post("/login", dependencies=[NotStored], summary="Log in with a password")
async def login(form: Annotated[LoginForm, Form()], domain: Domain, origin: From) -> TokenAnswer:
    """An access token for 15 minutes and a refresh token for the next one. From the fourth failure on, wait."""
    return TokenAnswer.model_validate(await domain.sessions.login(form.username, form.password, origin))


@router.post("/refresh", dependencies=[NotStored], summary="Exchange a refresh token for the next")
async def refresh(body: RefreshBody, domain: Domain, origin: From) -> TokenAnswer:
    """A token is spent once. A lost answer may be asked for again within 10 s; later, reuse ends the session."""
    return TokenAnswer.model_validate(await domain.sessions.refresh(body.refresh_token, origin))


@router.post("/logout", status_code=204, summary="End the session of a refresh token")
async def logout(body: RefreshBody, domain: Domain, origin: From) -> None:
    """Also when the token was spent before; no error when nobody has it."""
    await domain.sessions.logout(body.refresh_token, origin)


@router.post("/logout-all", status_code=204, summary="End every session of yours")
async def logout_all(user_id: UserId, domain: Domain, origin: From) -> None:
    """Keys stay."""
    await domain.sessions.logout_all(user_id, origin)


@router.get("/me", summary="Who you are")
async def me(user_id: UserId, domain: Domain) -> UserAnswer:
    return UserAnswer.model_validate(await domain.accounts.get(user_id))


@router.patch("/me", summary="Change your e-mail address")
async def change_me(body: EmailChange, user_id: UserId, domain: Domain, origin: From) -> UserAnswer:
    return UserAnswer.model_validate(await domain.accounts.change(user_id, {"email": body.email}, origin))


@router.post("/password", status_code=204, summary="Change your password")
async def change_password(body: PasswordChange, user_id: UserId, domain: Domain, origin: From) -> None:
    """Ends every session, this one too; keys stay."""
    await domain.accounts.change_password(user_id, body.current_password, body.new_password, origin)


@router.post("/api-keys", status_code=201, dependencies=[NotStored], summary="Create an API key")
async def create_key(body: NewApiKey, user_id: UserId, domain: Domain, origin: From) -> NewApiKeyAnswer:
    """The key is shown this once."""
    expires_in = timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None
    secret, key = await domain.keys.create(user_id, body.name, expires_in, origin)
    return NewApiKeyAnswer(
        id=key.id,
        name=key.name,
        key_hint=key.key_hint,
        created_at=key.created_at,
        expires_at=key.expires_at,
        api_key=secret,
    )


@router.get("/api-keys", summary="Your API keys, newest first")
async def keys(user_id: UserId, domain: Domain, limit: Limit = 50, cursor: After = None) -> ApiKeyPage:
    return ApiKeyPage.of(await domain.keys.list(user_id, before=cursor, limit=limit + 1), limit)


@router.delete("/api-keys/{key_id}", status_code=204, summary="Delete an API key")
async def delete_key(key_id: UUID, user_id: UserId, domain: Domain, origin: From) -> None:
    await domain.keys.revoke(user_id, key_id, origin)
