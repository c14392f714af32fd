"""How mail is delivered, from the URL that names it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from auth_service.adapters.mail_folder import MailFolder
from auth_service.adapters.smtp import SmtpMailer
from shared.clock import Clock

__all__ = ["mailer_of"]


def mailer_of(url: str, sender: str, clock: Clock) -> MailFolder | SmtpMailer:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return MailFolder(Path(unquote(parts.path)), sender, clock)
    return SmtpMailer(parts, sender, clock)
