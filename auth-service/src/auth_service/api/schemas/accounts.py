"""Of registering and one's own account."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from auth_service.api.schemas.common import Answer, Body, Email, Password, Username

__all__ = ["EmailChange", "RegisterBody", "UserAnswer"]


class RegisterBody(Body):
    username: Username
    email: Email
    password: Password
    invitation: Annotated[
        str | None, Field(max_length=256, repr=False, description="the token of a mail that invites this address into a tenant")
    ] = None


class EmailChange(Body):
    email: Email
    current_password: Password


class UserAnswer(Answer):
    id: UUID
    tenant_id: UUID
    username: str
    email: str
    tier: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime
