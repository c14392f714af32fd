"""Users as an administrator sees them."""

from uuid import UUID

from fastapi import APIRouter

from auth_service.api.dependencies import ADMINISTRATOR, After, AskedAccounts, Domain, From, Limit
from auth_service.api.schemas.accounts import UserAnswer
from auth_service.api.schemas.admin_users import AdminChange, UserPage

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin", tags=["admin"], dependencies=ADMINISTRATOR)


@router.get("/users", summary="Users, newest first")
async def users(domain: Domain, asked: AskedAccounts, limit: Limit = 50, cursor: After = None) -> UserPage:
    """Those whose user name or e-mail address begins with `q`, and who have all else that is given."""
    return UserPage.of(await domain.accounts.list(asked, before=cursor, limit=limit + 1), limit)


@router.patch("/users/{user_id}", summary="Change a user's tier, disable or enable them")
async def change_user(user_id: UUID, body: AdminChange, domain: Domain, origin: From) -> UserAnswer:
    """A disabled user's keys and sessions stand for nobody until the user is enabled again."""
    owner = await domain.accounts.owner(user_id)
    return UserAnswer.model_validate(await domain.accounts.change(owner, body.model_dump(exclude_none=True), origin))


@router.post("/users/{user_id}/unlock", status_code=204, summary="Forget a user's failed logins")
async def unlock(user_id: UUID, domain: Domain, origin: From) -> None:
    """Who has to wait after failed attempts need not any longer. Not for a disabled user: see PATCH."""
    await domain.accounts.unlock(await domain.accounts.owner(user_id), origin)


@router.delete("/users/{user_id}/sessions", status_code=204, summary="End every session of a user")
async def end_sessions(user_id: UUID, domain: Domain, origin: From) -> None:
    """Keys stay; so does the password, with which the user may log in again."""
    await domain.sessions.logout_all(await domain.accounts.owner(user_id), origin)
