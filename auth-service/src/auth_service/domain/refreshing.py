"""Refresh tokens: each is spent once, and what happens when one comes back.

A token's successor is HMAC-SHA256(server key, token): it need not be stored to be given again, so only hashes are. RFC 9700,
section 4.14.2, asks that reuse of a spent token revokes the whole family, for either the thief or the owner holds the newer one.
The exception is a retry: the answer that carried the successor may have been lost. So within ten seconds, and until the successor
is itself spent, the spent token gives the same successor once more.

A family is refreshed so often a minute, and so often at once, by the generic cell rate algorithm (ITU-T I.371): one moment is all
that is kept of it. Only who holds a token that is good can use that up, and reuse is judged before: a thief who refreshes as fast
as he may does not keep the owner's spent token from ending the session. A retry is not counted: it issues nothing, and whoever
waited with it would come back when it is reuse.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

from auth_service.domain.errors import TooManyRefreshes
from auth_service.domain.model import RefreshToken, Session
from auth_service.domain.throttling import seconds_left

__all__ = ["GRACE", "Verdict", "digest", "first_token", "is_alive", "judge", "paced", "successor"]

GRACE = timedelta(seconds=10)
_WINDOW = timedelta(minutes=1)


class Verdict(Enum):
    ROTATE = "spend it and issue its successor"
    REPEAT = "give the same successor again"
    REUSE = "revoke the family"


def first_token(random: Callable[[int], bytes]) -> str:
    return _text(random(32))


def successor(key: bytes, token: str) -> str:
    return _text(hmac.digest(key, b"refresh-successor:" + token.encode(), hashlib.sha256))


def digest(token: str) -> str:
    """What is stored: SHA-256 in hex. A token carries 256 random bits, so a slow hash would protect nothing more."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_alive(session: Session, now: datetime) -> bool:
    return session.revoked_at is None and now < session.expires_at


def judge(token: RefreshToken, following: RefreshToken | None, now: datetime) -> Verdict:
    """Of a token whose family is alive; `following` is its successor where that was issued."""
    if token.spent_at is None:
        return Verdict.ROTATE
    if following is not None and following.spent_at is None and now - token.spent_at <= GRACE:
        return Verdict.REPEAT
    return Verdict.REUSE


def paced(due_at: datetime | None, now: datetime, per_minute: int) -> datetime:
    """When the next refresh would be due if all came evenly, after one more now. TooManyRefreshes, which changes nothing."""
    due_at = max(due_at or now, now) + _WINDOW // per_minute
    allowed_at = due_at - _WINDOW
    if allowed_at > now:
        raise TooManyRefreshes(seconds_left([allowed_at], now))
    return due_at


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
