"""Of users as an administrator sees them."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel

from auth_service.api.schemas.accounts import UserAnswer
from auth_service.api.schemas.common import Body, Tier, page_of
from auth_service.domain.model import UserEntry

__all__ = ["AdminChange", "UserPage"]


class AdminChange(Body):
    """What is absent or null stays as it is."""

    tier: Tier | None = None
    is_active: bool | None = None


class UserPage(BaseModel):
    data: list[UserAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, users: Sequence[UserEntry], limit: int) -> "UserPage":
        return cls(**page_of(users, limit, UserAnswer.model_validate))
