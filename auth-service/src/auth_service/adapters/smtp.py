"""Mail through an SMTP server."""

from urllib.parse import SplitResult, unquote

import aiosmtplib

from auth_service.adapters.letters import message_of
from auth_service.domain.errors import MailRefused
from auth_service.domain.model import Letter
from shared.clock import Clock
from shared.errors import Unavailable

__all__ = ["SmtpMailer"]

_TIMEOUT_S = 10.0


class SmtpMailer:
    """`smtps://` is TLS from the first byte; `smtp://` turns to TLS before anything is said, unless it ends in `?tls=none`."""

    def __init__(self, url: SplitResult, sender: str, clock: Clock) -> None:
        self._url = url
        self._sender = sender
        self._clock = clock

    async def send(self, letter: Letter) -> None:
        url = self._url
        try:
            await aiosmtplib.send(
                message_of(letter, self._sender, self._clock),
                hostname=url.hostname,
                port=url.port,
                username=unquote(url.username) if url.username else None,
                password=unquote(url.password) if url.password else None,
                use_tls=url.scheme == "smtps",
                start_tls=url.scheme == "smtp" and url.query != "tls=none",
                timeout=_TIMEOUT_S,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _meaning(error) from error


def _meaning(error: Exception) -> MailRefused | Unavailable:
    """For good is only what is said of this address or letter: a sender or a password that is refused is a setting of ours.

    So is an address beyond ASCII that the server has no way to take (RFC 6531): whoever asked for the mail has chosen it, and
    one that were tried again and again would show as a mail server that does not answer.
    """
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return MailRefused("the mail server takes no address beyond ASCII")
    refused = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    code = refused.code if isinstance(refused, aiosmtplib.SMTPResponseException) else None
    words = f"the mail server says {code}" if code else f"the mail server does not answer ({type(error).__name__})"
    of_the_letter = isinstance(refused, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)
    return MailRefused(words) if of_the_letter and code and code >= 500 else Unavailable(words)
