"""Of logging in and out."""

from typing import Annotated, Literal

from pydantic import Field

from auth_service.api.schemas.common import Answer, Body, Password

__all__ = ["LoginForm", "RefreshBody", "TokenAnswer"]

RefreshToken = Annotated[str, Field(max_length=256, repr=False)]


class LoginForm(Body):
    """`grant_type` is what OAuth2 clients add."""

    username: Annotated[str, Field(max_length=254, pattern=r"^[^\x00]*$", description="user name or e-mail address")]
    password: Password
    grant_type: Literal["password"] = "password"


class RefreshBody(Body):
    refresh_token: RefreshToken


class TokenAnswer(Answer):
    """RFC 6749, section 5.1. `expires_in` is the access token's, in seconds."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type, not a token
    expires_in: int
    tier: str
