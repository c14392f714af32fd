"""What clients send and get."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field

from auth_service.domain.accounts import USERNAME_PATTERN
from auth_service.domain.model import ApiKey, User

__all__ = [
    "AdminChange",
    "ApiKeyAnswer",
    "ApiKeyPage",
    "ApiKeyQuestion",
    "EmailChange",
    "KeySet",
    "LoginForm",
    "NewApiKey",
    "NewApiKeyAnswer",
    "PasswordChange",
    "RefreshBody",
    "RegisterBody",
    "ResolveBody",
    "ResolvedAnswer",
    "SessionQuestion",
    "TokenAnswer",
    "UserAnswer",
    "UserPage",
]


class _Body(BaseModel):
    # unknown fields are refused, and nothing that was sent is repeated in an error
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


Username = Annotated[str, Field(pattern=USERNAME_PATTERN, examples=["ada"])]
Email = Annotated[EmailStr, Field(max_length=254, examples=["ada@example.com"])]
# the rule is the domain's; this bounds what is read before it is looked at
Password = Annotated[str, Field(max_length=1024, repr=False)]
RefreshToken = Annotated[str, Field(max_length=256, repr=False)]


class RegisterBody(_Body):
    username: Username
    email: Email
    password: Password


class LoginForm(_Body):
    """`grant_type` is what OAuth2 clients add."""

    username: Annotated[str, Field(max_length=254, pattern=r"^[^\x00]*$", description="user name or e-mail address")]
    password: Password
    grant_type: Literal["password"] = "password"


class RefreshBody(_Body):
    refresh_token: RefreshToken


class EmailChange(_Body):
    email: Email


class PasswordChange(_Body):
    current_password: Password
    new_password: Password


class NewApiKey(_Body):
    name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    expires_in_days: Annotated[int | None, Field(ge=1, le=3650)] = None


class AdminChange(_Body):
    """What is absent or null stays as it is."""

    # which tiers there are is ratelimit-service's to say; this is the form of their names
    tier: Annotated[str | None, Field(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = None
    is_active: bool | None = None


class ApiKeyQuestion(_Body):
    kind: Literal["api_key"]
    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SessionQuestion(_Body):
    kind: Literal["session"]
    user_id: UUID
    session_id: UUID


ResolveBody = Annotated[ApiKeyQuestion | SessionQuestion, Field(discriminator="kind")]


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class UserAnswer(_Answer):
    id: UUID
    tenant_id: UUID
    username: str
    email: str
    tier: str
    roles: tuple[str, ...]
    is_active: bool
    created_at: datetime


class TokenAnswer(_Answer):
    """RFC 6749, section 5.1. `expires_in` is the access token's, in seconds."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type, not a token
    expires_in: int
    tier: str


class ApiKeyAnswer(_Answer):
    id: UUID
    name: str
    key_hint: str
    created_at: datetime
    expires_at: datetime | None


class NewApiKeyAnswer(ApiKeyAnswer):
    """The only time `api_key` is shown."""

    api_key: str = Field(repr=False)


class UserPage(BaseModel):
    data: list[UserAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, users: Sequence[User], limit: int) -> "UserPage":
        """`users` are up to one more than `limit`: whether there is a next page."""
        shown = users[:limit]
        following = shown[-1].id if len(users) > limit else None
        return cls(data=[UserAnswer.model_validate(user) for user in shown], next_cursor=following)


class ApiKeyPage(BaseModel):
    data: list[ApiKeyAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, keys: Sequence[ApiKey], limit: int) -> "ApiKeyPage":
        """`keys` are up to one more than `limit`: whether there is a next page."""
        shown = keys[:limit]
        following = shown[-1].id if len(keys) > limit else None
        return cls(data=[ApiKeyAnswer.model_validate(key) for key in shown], next_cursor=following)


class ResolvedAnswer(_Answer):
    user_id: UUID
    tenant_id: UUID
    tier: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    session_id: UUID | None
    key_id: UUID | None
    expires_at: datetime | None


class PublicKey(BaseModel):
    """RFC 8037, section 2; `kid` is the thumbprint of RFC 7638."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: str
    x: str


class KeySet(BaseModel):
    keys: list[PublicKey]
