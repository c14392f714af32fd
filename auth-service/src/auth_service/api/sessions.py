"""Logging in, staying logged in, logging out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form

from auth_service.api.dependencies import Domain, From, Me, NotStored, me_of
from auth_service.api.schemas.sessions import LoginForm, RefreshBody, TokenAnswer
from shared.guard import require_scope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])
_MANAGING = [Depends(me_of), require_scope("keys:manage")]


@router.post("/login", dependencies=[NotStored], summary="Log in with a password")
async def login(form: Annotated[LoginForm, Form()], domain: Domain, origin: From) -> TokenAnswer:
    """An access token for 15 minutes and a refresh token for the next one. From the fourth failure on, wait."""
    return TokenAnswer.model_validate(await domain.sessions.login(form.username, form.password, origin))


@router.post("/refresh", dependencies=[NotStored], summary="Exchange a refresh token for the next")
async def refresh(body: RefreshBody, domain: Domain, origin: From) -> TokenAnswer:
    """A token is spent once. A lost answer may be asked for again within 10 s; later, reuse ends the session. A session is
    refreshed 60 times a minute at most, not counting what is asked for again; what comes beyond that (429) spends nothing."""
    return TokenAnswer.model_validate(await domain.sessions.refresh(body.refresh_token, origin))


@router.post("/logout", status_code=204, summary="End the session of a refresh token")
async def logout(body: RefreshBody, domain: Domain, origin: From) -> None:
    """Also when the token was spent before; no error when nobody has it."""
    await domain.sessions.logout(body.refresh_token, origin)


@router.post("/logout-all", status_code=204, dependencies=_MANAGING, summary="End every session of yours")
async def logout_all(caller: Me, domain: Domain, origin: From) -> None:
    """Keys stay."""
    await domain.sessions.logout_all(caller, origin)
