"""A letter as it travels: RFC 5322."""

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from auth_service.domain.model import Letter
from shared.clock import Clock

__all__ = ["message_of"]


def message_of(letter: Letter, sender: str, clock: Clock) -> EmailMessage:
    """The same Message-ID whenever it is sent, by which a second copy is known for what it is."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(clock())
    message["Message-ID"] = f"<{letter.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message
