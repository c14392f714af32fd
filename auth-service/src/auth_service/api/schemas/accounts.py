"""Of registering and one's own account."""

from datetime import datetime
from uuid import UUID

from auth_service.api.schemas.common import Answer, Body, Email, Password, Username

__all__ = ["EmailChange", "RegisterBody", "UserAnswer"]


class RegisterBody(Body):
    username: Username
    email: Email
    password: Password


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
