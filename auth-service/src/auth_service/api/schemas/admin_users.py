"""Of users as an administrator sees them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.api.schemas.accounts import UserAnswer
from auth_service.api.schemas.common import Body, page_of
from auth_service.domain.model import UserEntry

__all__ = ["AdminChange", "UserPage"]


class AdminChange(Body):
    """What is absent or null stays as it is."""

    # which tiers there are is ratelimit-service's to say; this is the form of their names
    tier: Annotated[str | None, Field(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = None
    is_active: bool | None = None


class UserPage(BaseModel):
    data: list[UserAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, users: Sequence[UserEntry], limit: int) -> "UserPage":
        return cls(**page_of(users, limit, UserAnswer.model_validate))
