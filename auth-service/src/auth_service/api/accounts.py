"""Registering, and one's own account."""

from fastapi import APIRouter

from auth_service.api.dependencies import Domain, From, Me, MySession
from auth_service.api.schemas.accounts import EmailChange, RegisterBody, UserAnswer
from auth_service.domain.accounts import NewUser

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])


@router.post("/register", status_code=201, summary="Become a user")
async def register(body: RegisterBody, domain: Domain, origin: From) -> UserAnswer:
    """Of the tier `free`, always. With an invitation, as a member of its tenant; else in a personal one."""
    user = await domain.accounts.register(NewUser(body.username, body.email, body.password, invitation=body.invitation), origin)
    return UserAnswer.model_validate(user)


@router.get("/me", summary="Who you are")
async def me(caller: Me, domain: Domain) -> UserAnswer:
    return UserAnswer.model_validate(await domain.accounts.get(caller))


@router.patch("/me", summary="Change your e-mail address")
async def change_me(body: EmailChange, caller: MySession, domain: Domain, origin: From) -> UserAnswer:
    """By a session alone, not by a key. The address before is told."""
    return UserAnswer.model_validate(await domain.accounts.change_email(caller, body.email, body.current_password, origin))
