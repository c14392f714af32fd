"""One's own tenant, and who is in it."""

from uuid import UUID

from fastapi import APIRouter

from auth_service.api.dependencies import After, Domain, From, Limit, Me, MySession
from auth_service.api.schemas.tenants import (
    InvitationAccepted,
    InvitationAnswer,
    InvitationBody,
    InvitationPage,
    MemberAnswer,
    MemberPage,
    OwnTenantAnswer,
    RoleChange,
    TenantChange,
)
from shared.guard import require_scope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/tenant", tags=["tenant"], dependencies=[require_scope("keys:manage")])


@router.get("", summary="The tenant you are in")
async def tenant(caller: Me, domain: Domain) -> OwnTenantAnswer:
    return OwnTenantAnswer.of(*await domain.tenants.get(caller))


@router.patch("", summary="Change its name, or from which web pages it is used")
async def change_tenant(body: TenantChange, caller: Me, domain: Domain, origin: From) -> OwnTenantAnswer:
    """By its owners and admins. An origin is a scheme, a host and a port; a page of any other is refused by browsers and here."""
    return OwnTenantAnswer.of(*await domain.tenants.change(caller, body.changes(), origin))


@router.get("/members", summary="Who is in it, newest users first")
async def members(caller: Me, domain: Domain, limit: Limit = 50, cursor: After = None) -> MemberPage:
    return MemberPage.of(await domain.tenants.members(caller, before=cursor, limit=limit + 1), limit)


@router.patch("/members/{member_id}", summary="Give a member another role")
async def change_member(member_id: UUID, body: RoleChange, caller: MySession, domain: Domain, origin: From) -> MemberAnswer:
    """By owners and admins; owners are made and unmade by owners alone, and one is always left (409). By a session, not by a
    key."""
    return MemberAnswer.model_validate(await domain.tenants.change_role(caller, member_id, body.role, origin))


@router.delete("/members/{member_id}", status_code=204, summary="Remove a member, or leave")
async def remove_member(member_id: UUID, caller: Me, domain: Domain, origin: From) -> None:
    """Who is removed has a personal tenant from then on, and keeps keys and sessions. Anybody may leave but the last owner."""
    await domain.tenants.remove(caller, member_id, origin)


@router.get("/invitations", summary="Who is invited and has not accepted yet, newest first")
async def invitations(caller: Me, domain: Domain, limit: Limit = 50, cursor: After = None) -> InvitationPage:
    """For owners and admins."""
    return InvitationPage.of(await domain.invitations.list(caller, before=cursor, limit=limit + 1), limit)


@router.post("/invitations", status_code=201, summary="Invite somebody by mail")
async def invite(body: InvitationBody, caller: MySession, domain: Domain, origin: From) -> InvitationAnswer:
    """By owners and admins; owners are invited by owners. It works for a week, once, for this address alone, and ends those that
    were sent to it before. An address is invited 3 times a day by a tenant, and 5 times by all of them (429). By a session, not
    by a key: whoever has stolen one would stay as a member when it is revoked."""
    return InvitationAnswer.model_validate(await domain.invitations.invite(caller, body.email, body.role, origin))


@router.post("/invitations/accept", summary="Join the tenant you are invited to")
async def accept(body: InvitationAccepted, caller: MySession, domain: Domain, origin: From) -> OwnTenantAnswer:
    """With your keys and sessions. You leave the tenant you are in; an organisation's last owner may not (409). By a session, not
    by a key."""
    return OwnTenantAnswer.of(*await domain.invitations.accept(caller, body.token, origin))


@router.delete("/invitations/{invitation_id}", status_code=204, summary="Take an invitation back")
async def withdraw(invitation_id: UUID, caller: Me, domain: Domain, origin: From) -> None:
    """By owners and admins."""
    await domain.invitations.withdraw(caller, invitation_id, origin)
