"""What routes ask for: the services of the domain, the user who calls, and where a change comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from auth_service.api.schemas.common import TIER_PATTERN
from auth_service.domain.accounts import Accounts
from auth_service.domain.errors import SessionNeeded
from auth_service.domain.invitations import Invitations
from auth_service.domain.keys import KeyService
from auth_service.domain.model import Credential, Origin, Owner
from auth_service.domain.ports import AccountFilter
from auth_service.domain.resetting import Resets
from auth_service.domain.resolving import Resolver
from auth_service.domain.sessions import SessionService
from auth_service.domain.tenants import TenantAdministration, TenantService
from auth_service.domain.trail import Trail
from shared.context import current_request_id
from shared.errors import Unauthenticated
from shared.guard import Caller, require_role, require_scope
from shared.scopes import ADMIN, in_order

__all__ = [
    "ADMINISTRATOR",
    "After",
    "AskedAccounts",
    "Asking",
    "Domain",
    "From",
    "Limit",
    "Me",
    "MySession",
    "NotStored",
    "Services",
    "me_of",
]


@dataclass(frozen=True)
class Services:
    """What the wiring leaves in `app.state.services`; `jwks` gives the document of the public keys.

    `audit_public_key` verifies heads of the audit chain.
    """

    accounts: Accounts
    sessions: SessionService
    keys: KeyService
    resets: Resets
    resolver: Resolver
    tenants: TenantService
    invitations: Invitations
    all_tenants: TenantAdministration
    trail: Trail
    audit_public_key: str
    jwks: Callable[[], dict[str, Any]]


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def me_of(caller: Caller) -> Owner:
    """The caller's; Unauthenticated for a request without credentials, which the gateway sends for itself."""
    if caller.principal.kind != "user":
        raise Unauthenticated("send a key or an access token")
    return Owner(UUID(caller.principal.tenant_id), UUID(caller.principal.user_id))


async def _asking(caller: Caller, me: Annotated[Owner, Depends(me_of)]) -> Credential:
    key_id = caller.principal.key_id
    return Credential(me, in_order(caller.principal.scopes), UUID(key_id) if key_id is not None else None)


async def _session_of(caller: Caller, me: Annotated[Owner, Depends(me_of)]) -> Owner:
    """As `me_of`, for what a stolen key must not do: SessionNeeded for one who comes with a key."""
    if caller.principal.session_id is None:
        raise SessionNeeded
    return me


async def _origin(caller: Caller) -> Origin:
    principal = caller.principal
    actor = principal.user_id if principal.kind == "user" else None
    return Origin(actor=actor, request_id=current_request_id(), client_ip=caller.client_ip)


async def _not_stored(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


Domain = Annotated[Services, Depends(_services)]
Me = Annotated[Owner, Depends(me_of)]
Asking = Annotated[Credential, Depends(_asking)]
MySession = Annotated[Owner, Depends(_session_of)]
From = Annotated[Origin, Depends(_origin)]
ADMINISTRATOR = [Depends(me_of), require_role("admin"), require_scope(ADMIN)]
"""For routers of what only a user with the role may do, with a credential that is for it."""

NotStored = Depends(_not_stored)
"""For routes whose answer holds a credential (RFC 6749, section 5.1)."""

Limit = Annotated[int, Query(ge=1, le=100, description="rows in a page")]
After = Annotated[UUID | None, Query(alias="cursor", description="`next_cursor` of the page before")]


async def _asked_accounts(
    *,
    begins: Annotated[
        str | None, Query(alias="q", min_length=1, max_length=254, pattern=r"^[^\x00]*$", description="how a name begins")
    ] = None,
    tier: Annotated[str | None, Query(max_length=64, pattern=TIER_PATTERN, description="which is set for them")] = None,
    is_active: Annotated[bool | None, Query(description="false: disabled ones alone")] = None,
) -> AccountFilter:
    return AccountFilter(begins, tier, is_active)


AskedAccounts = Annotated[AccountFilter, Depends(_asked_accounts)]
