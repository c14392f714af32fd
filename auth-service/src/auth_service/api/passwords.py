"""Changing one's password, and choosing another when it is forgotten."""

from fastapi import APIRouter

from auth_service.api.dependencies import Domain, From, MySession
from auth_service.api.schemas.passwords import ForgottenPassword, MailAnswer, NewPassword, PasswordChange

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/auth/password", tags=["auth"])


@router.post("", status_code=204, summary="Change your password")
async def change_password(body: PasswordChange, caller: MySession, domain: Domain, origin: From) -> None:
    """Ends every session, this one too; keys stay. By a session alone, not by a key. Your address is told."""
    await domain.accounts.change_password(caller, body.current_password, body.new_password, origin)


@router.post("/forgot", status_code=202, summary="Ask for a mail to choose a new password")
async def forgot(body: ForgottenPassword, domain: Domain, origin: From) -> MailAnswer:
    """The same answer whether or not a user has this address. One mail in a quarter of an hour."""
    await domain.resets.forgot(body.email, origin)
    return MailAnswer()


@router.post("/reset", status_code=204, summary="Choose a new password with the token of that mail")
async def reset(body: NewPassword, domain: Domain, origin: From) -> None:
    """Once. Ends every session and every wait after failed logins; keys stay."""
    await domain.resets.reset(body.token, body.new_password, origin)
