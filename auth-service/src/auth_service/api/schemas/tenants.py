"""Of tenants and their members, as members and as administrators see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, field_validator

from auth_service.api.schemas.common import Answer, Body, Email, Tier, page_of
from auth_service.domain.model import Member, Quota, Tenant, TenantEntry, TenantRole, User
from auth_service.domain.one_time import OneTimeToken
from auth_service.domain.web_origins import MOST_ORIGINS, web_origin
from shared.display import displayable

__all__ = [
    "AdminTenantAnswer",
    "AdminTenantChange",
    "InvitationAccepted",
    "InvitationAnswer",
    "InvitationBody",
    "InvitationPage",
    "MemberAnswer",
    "MemberPage",
    "NewTenantBody",
    "OwnTenantAnswer",
    "RoleChange",
    "TenantChange",
    "TenantPage",
]

Name = Annotated[str, Field(min_length=1, max_length=64, examples=["Analytical Engines"]), AfterValidator(displayable)]
# longer than any that is fit: what is read before it is looked at
WebOrigin = Annotated[str, Field(max_length=300, examples=["https://app.example.com"]), AfterValidator(web_origin)]


class TenantChange(Body):
    """What is absent or null stays as it is."""

    name: Name | None = None
    allowed_origins: Annotated[
        list[WebOrigin] | None, Field(max_length=MOST_ORIGINS, description="of web pages that may call the API for its members")
    ] = None

    @field_validator("allowed_origins")
    @classmethod
    def _each_once(cls, origins: list[str] | None) -> list[str] | None:
        return sorted(set(origins)) if origins is not None else None

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_none=True)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


class RoleChange(Body):
    role: TenantRole


class InvitationBody(Body):
    email: Email
    role: TenantRole = "member"


class InvitationAccepted(Body):
    token: Annotated[str, Field(max_length=256, repr=False)]


class InvitationAnswer(Answer):
    id: UUID
    email: str
    role: TenantRole
    expires_at: datetime


class InvitationPage(BaseModel):
    data: list[InvitationAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, invitations: Sequence[OneTimeToken], limit: int) -> Self:
        return cls(**page_of(invitations, limit, InvitationAnswer.model_validate))


class NewTenantBody(Body):
    """`owner_id` is a user, who leaves the tenant they are in for this one."""

    name: Name
    owner_id: UUID
    tier: Tier | None = None
    quota: Quota = "split"


class AdminTenantChange(Body):
    """What is absent stays as it is. `tier` null: each member has the tier of their own."""

    tier: Tier | None = None
    quota: Quota | None = None
    is_active: bool | None = None

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_unset=True)
        return {name: value for name, value in given.items() if value is not None or name == "tier"}


class _TenantAnswer(Answer):
    id: UUID
    name: str
    personal: bool
    tier: str | None
    quota: Quota
    allowed_origins: tuple[str, ...]
    created_at: datetime


class OwnTenantAnswer(_TenantAnswer):
    """`tenant_role` is the caller's. What `tier` allows is for all members together (`quota` shared), or a part of it for each
    (split); without one each member has what their own tier allows."""

    tenant_role: TenantRole

    @classmethod
    def of(cls, tenant: Tenant, user: User) -> Self:
        shown = _TenantAnswer.model_validate(tenant).model_dump()
        return cls(**shown, tenant_role=user.tenant_role)


class AdminTenantAnswer(_TenantAnswer):
    is_active: bool


class TenantListed(AdminTenantAnswer):
    members: int


class MemberAnswer(Answer):
    id: UUID
    username: str
    tenant_role: TenantRole
    is_active: bool


class MemberPage(BaseModel):
    data: list[MemberAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, members: Sequence[Member], limit: int) -> Self:
        return cls(**page_of(members, limit, MemberAnswer.model_validate))


class TenantPage(BaseModel):
    data: list[TenantListed]
    next_cursor: UUID | None

    @classmethod
    def of(cls, tenants: Sequence[TenantEntry], limit: int) -> Self:
        return cls(**page_of(tenants, limit, TenantListed.model_validate))
