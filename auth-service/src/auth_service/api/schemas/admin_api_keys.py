"""Of API keys as an administrator sees them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from auth_service.api.schemas.common import Answer, page_of
from auth_service.domain.model import ApiKeyEntry

__all__ = ["AdminKeyAnswer", "AdminKeyPage"]


class AdminKeyAnswer(Answer):
    id: UUID
    user_id: UUID
    tenant_id: UUID
    name: str
    key_hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class AdminKeyPage(BaseModel):
    data: list[AdminKeyAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, keys: Sequence[ApiKeyEntry], limit: int) -> Self:
        return cls(**page_of(keys, limit, AdminKeyAnswer.model_validate))
