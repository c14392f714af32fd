"""What the routes are given."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request

from ratelimit_service.domain.analytics import Analytics
from ratelimit_service.domain.auditing import Changes
from ratelimit_service.domain.deciding import Deciding
from ratelimit_service.domain.history import History
from ratelimit_service.domain.model import Origin
from ratelimit_service.domain.overriding import Overriding
from ratelimit_service.domain.publishing import Publishing
from ratelimit_service.domain.resetting import Resetting
from shared.clock import Clock
from shared.context import current_request_id
from shared.errors import Unauthenticated
from shared.guard import Caller, require_role, require_scope
from shared.limits.book import PlanWatcher
from shared.limits.limiter import Limiter
from shared.scopes import ADMIN

__all__ = ["ADMINISTRATOR", "AfterTenant", "Before", "Domain", "From", "Limit", "Now", "Services"]


@dataclass(frozen=True)
class Services:
    """What the wiring leaves in `app.state.services`; `plans` are those in force."""

    plans: PlanWatcher
    limiter: Limiter
    publishing: Publishing
    overriding: Overriding
    resetting: Resetting
    deciding: Deciding
    history: History
    analytics: Analytics
    changes: Changes
    clock: Clock


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _a_user(caller: Caller) -> None:
    if caller.principal.kind != "user":
        raise Unauthenticated("send a key or an access token")


async def _origin(caller: Caller) -> Origin:
    return Origin(caller.principal.user_id, current_request_id(), caller.client_ip)


Domain = Annotated[Services, Depends(_services)]


async def _now(services: Domain) -> datetime:
    return services.clock()


From = Annotated[Origin, Depends(_origin)]
ADMINISTRATOR = [Depends(_a_user), require_role("admin"), require_scope(ADMIN)]
"""For routers of what only a user with the role may do, with a credential that is for it."""

Limit = Annotated[int, Query(ge=1, le=100, description="rows in a page")]
Before = Annotated[int | None, Query(alias="cursor", ge=1, le=(1 << 63) - 1, description="`next_cursor` of the page before")]
AfterTenant = Annotated[UUID | None, Query(alias="cursor", description="`next_cursor` of the page before")]
Now = Annotated[datetime, Depends(_now)]
