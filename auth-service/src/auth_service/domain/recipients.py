"""Mail to people who have not asked for one: how often an address is invited, whoever does.

Counted is the mailbox that an address leads to at most servers: without what follows a + (RFC 5233), without dots and in small
letters. Where two addresses that are counted as one are two people's, each may still be invited, later on the same day at worst.
A tenant has a part of what an address may get, so that none uses up what others have to say.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from auth_service.domain.errors import TooManyToAddress
from auth_service.domain.throttling import seconds_left

__all__ = ["WINDOW", "Invited", "check_recipient", "mailbox_of"]

WINDOW = timedelta(days=1)
MOST = 5
MOST_OF_A_TENANT = 3


class Invited(NamedTuple):
    """An invitation to a mailbox; `ours` is of the tenant that asks."""

    ours: bool
    at: datetime


def mailbox_of(email: str) -> str:
    local, _, domain = email.casefold().rpartition("@")
    return f"{local.partition('+')[0].replace('.', '') or local}@{domain}"


def check_recipient(before: Sequence[Invited], now: datetime) -> None:
    """Of what a mailbox was sent within the window. TooManyToAddress, until so many are older than that."""
    ours = [one for one in before if one.ours]
    full = [
        sorted(one.at for one in sent)[-most] for sent, most in ((before, MOST), (ours, MOST_OF_A_TENANT)) if len(sent) >= most
    ]
    if full:
        raise TooManyToAddress(seconds_left([at + WINDOW for at in full], now))
