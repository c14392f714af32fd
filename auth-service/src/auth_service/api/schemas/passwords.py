"""Of changing a password, and of choosing another."""

from typing import Annotated

from pydantic import Field

from auth_service.api.schemas.common import Answer, Body, Email, Password

__all__ = ["ForgottenPassword", "MailAnswer", "NewPassword", "PasswordChange"]


class PasswordChange(Body):
    current_password: Password
    new_password: Password


class ForgottenPassword(Body):
    email: Email


class NewPassword(Body):
    token: Annotated[str, Field(max_length=256, repr=False)]
    new_password: Password


class MailAnswer(Answer):
    detail: str = "if a user has this address, a mail is on its way"
