"""Mail leaves the outbox at least once, whatever is killed or does not answer meanwhile.

It was written in the transaction of the change it tells of. Whoever takes a mail has it for two minutes; where it was not sent by
then, another takes it. A mail server that does not answer is asked again after 5 s, 10 s, 20 s … up to a quarter of an hour; one
that refuses the address is believed.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from auth_service.domain.errors import MailRefused
from auth_service.domain.model import Letter, Mail, MailKind
from auth_service.domain.ports import Database, Mailer
from shared.clock import Clock
from shared.errors import Unavailable
from shared.logging import get_logger

__all__ = ["Compose", "Postman", "email_changed", "password_changed", "retry_after"]

BATCH = 5
HELD_FOR = timedelta(minutes=2)
_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_RETRY = timedelta(minutes=15)
_log = get_logger("mail")

Compose = Callable[[Mail], Awaitable[Letter | None]]
"""None for what is not to be sent after all."""
Outcome = Callable[[MailKind, str], None]


class Postman:
    """`outcome` counts, by kind: sent, retried, dropped (nobody is to get it), refused, expired (not sent in `kept_for`)."""

    def __init__(
        self,
        database: Database,
        mailer: Mailer,
        compose: Mapping[MailKind, Compose],
        outcome: Outcome,
        *,
        kept_for: Mapping[MailKind, timedelta],
        clock: Clock,
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._compose = compose
        self._outcome = outcome
        self._kept_for = kept_for
        self._clock = clock
        self._failure = ""

    async def check(self) -> None:
        """For health: Unavailable while the newest attempt is one that failed."""
        if self._failure:
            raise Unavailable(f"mail is waiting: {self._failure}")

    async def deliver(self) -> None:
        """All that is due. Unavailable without the database; what was taken then is taken again."""
        while await self.deliver_batch() == BATCH:
            pass

    async def deliver_batch(self) -> int:
        """How many were taken."""
        now = self._clock()
        mails = await self._database.mails.take(now, now + HELD_FOR, BATCH)
        for mail in mails:
            await self._deliver(mail)
        return len(mails)

    async def _deliver(self, mail: Mail) -> None:
        try:
            outcome = await self._sent(mail)
        except Unavailable as error:
            self._failure = error.detail
            _log.warning("a mail is not sent yet", kind=mail.kind, attempts=mail.attempts, why=error.detail)
            await self._database.mails.put_back(mail.id, self._clock() + retry_after(mail.attempts))
            self._outcome(mail.kind, "retried")
            return
        await self._database.mails.done(mail.id)
        self._outcome(mail.kind, outcome)

    async def _sent(self, mail: Mail) -> str:
        if self._clock() - mail.made_at >= self._kept_for[mail.kind]:
            _log.error("a mail could not be sent in time", kind=mail.kind, attempts=mail.attempts)
            return "expired"
        letter = await self._compose[mail.kind](mail)
        if letter is None:
            return "dropped"
        try:
            await self._mailer.send(letter)
        except MailRefused as error:
            _log.warning("a mail is refused", kind=mail.kind, why=error.detail)
            return "refused"
        finally:
            self._failure = ""
        return "sent"


def retry_after(attempts: int) -> timedelta:
    """After so many that failed."""
    return min(_FIRST_RETRY * (1 << min(attempts - 1, 20)), _LONGEST_RETRY)


async def email_changed(mail: Mail) -> Letter:
    text = (
        "The e-mail address of your account was changed, and this one is not used for it any more.\n\n"
        "If that was not you, somebody knows your password: ask whoever runs this server to give you the account back.\n"
    )
    return Letter(mail.id, mail.address, "Your e-mail address was changed", text)


async def password_changed(mail: Mail) -> Letter:
    text = (
        "The password of your account was changed, and every session was ended. API keys stay as they are.\n\n"
        "If that was not you, ask for a mail to choose another password, and look through your API keys.\n"
    )
    return Letter(mail.id, mail.address, "Your password was changed", text)
