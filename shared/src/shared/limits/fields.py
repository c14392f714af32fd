"""`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): structured fields, RFC 9651."""

from shared.limits.policies import Decision

__all__ = ["ratelimit_fields", "ratelimit_lines"]

_POLICY, _STATE = b"ratelimit-policy", b"ratelimit"


def ratelimit_fields(decision: Decision) -> tuple[tuple[bytes, bytes], ...]:
    """Both fields as ASGI has them, every policy in them; none when nothing is limited."""
    heading = decision.heading
    if not heading.text:
        return ()
    return (_POLICY, heading.text), (_STATE, heading.state % _numbers(decision))


def ratelimit_lines(decision: Decision) -> bytes:
    """The same as they go onto the wire."""
    return decision.heading.lines % _numbers(decision) if decision.heading.text else b""


def _numbers(decision: Decision) -> tuple[int, ...]:
    heading = decision.heading
    return decision.numbers if heading.all_shown else heading.shown(decision.numbers)
