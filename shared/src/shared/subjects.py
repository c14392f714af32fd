"""Streams and subjects on NATS, and the one place where a symbol becomes part of a subject."""

import re

__all__ = [
    "AUTH_STREAM",
    "AUTH_SUBJECTS",
    "BARS_SUBJECTS",
    "COUNTERS_SUBJECT",
    "DEAD_LETTER_STREAM",
    "DEAD_LETTER_SUBJECTS",
    "FEED_STREAM",
    "FEED_SUBJECTS",
    "LIMITS_STREAM",
    "MARKET_STREAM",
    "PLAN_SUBJECT",
    "SENT_SYMBOL_PATTERN",
    "SYMBOL_PATTERN",
    "USAGE_STREAM",
    "USAGE_SUBJECT",
    "auth_subject",
    "bars_subject",
    "feed_subject",
]

AUTH_STREAM = "KALPI_AUTH"
FEED_STREAM = "KALPI_FEED"
MARKET_STREAM = "KALPI_MARKET"
LIMITS_STREAM = "KALPI_LIMITS"
USAGE_STREAM = "KALPI_USAGE"
DEAD_LETTER_STREAM = "KALPI_DLQ"

AUTH_SUBJECTS = "kalpi.auth.>"
FEED_SUBJECTS = "kalpi.market.feed.v1.*"
BARS_SUBJECTS = "kalpi.market.bars.v1.*"
PLAN_SUBJECT = "kalpi.limits.plan.v1"
COUNTERS_SUBJECT = "kalpi.limits.counters.v1"
USAGE_SUBJECT = "kalpi.usage.request.v1"
DEAD_LETTER_SUBJECTS = "kalpi.dlq.>"

SYMBOL_PATTERN = r"[A-Z0-9][A-Z0-9._-]{0,31}"
SENT_SYMBOL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
"""As clients may write it, to be made capitals. Of ASCII alone: among all letters ß becomes SS, and the Kelvin sign is a k."""

_SYMBOL = re.compile(SYMBOL_PATTERN)


def auth_subject(noun: str, event: str) -> str:
    """`noun` is user, key, session, tenant, guess or signing-key."""
    return f"kalpi.auth.{noun}.{event}.v1"


def feed_subject(provider: str) -> str:
    return f"kalpi.market.feed.v1.{provider}"


def bars_subject(symbol: str) -> str:
    """ValueError for what is not a symbol. A dot separates tokens in a subject, so it travels as a tilde."""
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"not a symbol: {symbol[:40]!r}")
    return f"kalpi.market.bars.v1.{symbol.replace('.', '~')}"
