"""What is told of each request when it has ended: the one record that metrics and request events are made from."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qs

from shared.limits.sharing import subject_of
from shared.principal import Principal

__all__ = ["NOBODY", "CacheUse", "CallRecord", "CallerRecord", "Recorder", "RequestRecord", "named_in", "told_each"]

NOBODY = Principal(kind="user", user_id="")
"""Who asked where that is not known."""

CacheUse = Literal["hit", "miss", "bypass", "none"]
SessionKind = Literal["key", "session", "none"]

_INDICATOR = re.compile(r"/api/v1/indicators/([A-Za-z0-9_.-]{1,64})")
_SYMBOL = re.compile(r"/api/v1/(?:symbols|bars|patterns)/([A-Z0-9][A-Z0-9._-]{0,31})")
_IS_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,31}")
_NOT_ONE = frozenset({"batch", "custom"})
"""Beneath `/indicators`, and no indicator."""


class CallerRecord(NamedTuple):
    """Who asked, and whose counters were spent from: empty of nobody."""

    tenant_id: str
    user_id: str
    key_id: str
    session_kind: SessionKind
    tier: str
    subject: str

    @classmethod
    def of(cls, principal: Principal, *, spent: bool) -> Self:
        kind: SessionKind = "key" if principal.key_id else "session" if principal.session_id else "none"
        subject = subject_of(principal) if spent else ""
        return cls(principal.tenant_id, principal.user_id, principal.key_id or "", kind, principal.tier, subject)


class CallRecord(NamedTuple):
    """What was asked, and what became of it. `route` is the path of its route, not of the request."""

    method: str
    route: str
    indicator: str
    symbol: str
    status: int
    cache: CacheUse


class RequestRecord(NamedTuple):
    """`at` is when it came, in UTC. `units` is what was spent of the day's quota. `latency_us` ends with the last byte handed to
    the server.
    """

    at: datetime
    caller: CallerRecord
    call: CallRecord
    latency_us: int
    units: int
    bytes_out: int
    request_id: str


Recorder = Callable[[RequestRecord], None]
"""Called on the event loop, once for each request; it must not wait, nor raise."""


def told_each(*recorders: Recorder) -> Recorder:
    def tell(record: RequestRecord) -> None:
        for recorder in recorders:
            recorder(record)

    return tell


def named_in(path: str, query: bytes) -> tuple[str, str]:
    """The indicator and the symbol that a request names; empty for what is none by its form."""
    indicator = _INDICATOR.fullmatch(path)
    if indicator is None:
        symbol = _SYMBOL.fullmatch(path)
        return "", symbol[1] if symbol is not None else ""
    if indicator[1] in _NOT_ONE:
        return "", ""
    asked = parse_qs(query.decode("latin-1")).get("symbol", [""])[0]
    return indicator[1].lower(), asked if _IS_SYMBOL.fullmatch(asked) else ""
