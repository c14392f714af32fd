"""Mail that waits, and who takes it."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from auth_service.domain.model import Letter, Mail

__all__ = ["MailQueue", "Mailer", "Mails"]


class Mails(Protocol):
    async def add(self, mail: Mail) -> None:
        """Due at once."""


class MailQueue(Mails, Protocol):
    """Each call is a transaction of its own."""

    async def take(self, now: datetime, until: datetime, limit: int) -> list[Mail]:
        """Those due, longest first, with this attempt counted; nobody else takes them before `until`."""

    async def put_back(self, mail_id: UUID, due_at: datetime) -> None: ...

    async def done(self, mail_id: UUID) -> None:
        """It is gone."""


class Mailer(Protocol):
    async def send(self, letter: Letter) -> None:
        """Returns once somebody else is responsible for it. MailRefused; Unavailable when it may be taken later."""
