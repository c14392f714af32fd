"""Of API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.api.schemas.common import Answer, Body, page_of
from auth_service.domain.model import ApiKey

__all__ = ["ApiKeyAnswer", "ApiKeyPage", "NewApiKey", "NewApiKeyAnswer"]


class NewApiKey(Body):
    name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    expires_in_days: Annotated[int | None, Field(ge=1, le=3650)] = None


class ApiKeyAnswer(Answer):
    id: UUID
    name: str
    key_hint: str
    created_at: datetime
    expires_at: datetime | None


class NewApiKeyAnswer(ApiKeyAnswer):
    """The only time `api_key` is shown."""

    api_key: str = Field(repr=False)


class ApiKeyPage(BaseModel):
    data: list[ApiKeyAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, keys: Sequence[ApiKey], limit: int) -> "ApiKeyPage":
        return cls(**page_of(keys, limit, ApiKeyAnswer.model_validate))
