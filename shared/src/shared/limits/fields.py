"""`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): structured fields, RFC 9651."""

from shared.limits.limiter import Decision

__all__ = ["ratelimit_fields"]


def ratelimit_fields(decision: Decision) -> dict[str, str]:
    """Both fields, every policy in them; none when nothing is limited."""
    if not decision.outcomes:
        return {}
    policies = ", ".join(f'"{o.policy.name}";q={o.policy.quota};w={o.policy.window_s}' for o in decision.outcomes)
    state = ", ".join(f'"{o.policy.name}";r={o.remaining};t={o.reset_s}' for o in decision.outcomes)
    return {"RateLimit-Policy": policies, "RateLimit": state}
