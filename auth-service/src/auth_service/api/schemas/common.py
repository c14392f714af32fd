"""What bodies and answers have in common."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from auth_service.domain.accounts import USERNAME_PATTERN

__all__ = ["TIER_PATTERN", "Answer", "Body", "Email", "Password", "Tier", "Username", "page_of"]

TIER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""Of a tier's name; which there are is ratelimit-service's to say."""


class Body(BaseModel):
    # unknown fields are refused, and nothing that was sent is repeated in an error
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


Username = Annotated[str, Field(pattern=USERNAME_PATTERN, examples=["ada"])]
Email = Annotated[EmailStr, Field(max_length=254, examples=["ada@example.com"])]
Tier = Annotated[str, Field(max_length=64, pattern=TIER_PATTERN, examples=["pro"])]
# the rule is the domain's; this bounds what is read before it is looked at
Password = Annotated[str, Field(max_length=1024, repr=False)]


def page_of(rows: Sequence[Any], limit: int, shown: Callable[[Any], Answer]) -> dict[str, Any]:
    """`rows` are up to one more than `limit`: whether there is a next page, which begins behind the last id of this one."""
    page = rows[:limit]
    return {"data": [shown(row) for row in page], "next_cursor": page[-1].id if len(rows) > limit else None}
