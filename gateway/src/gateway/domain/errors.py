"""What the edge itself answers.

Unauthenticated
└── BadCredential
Forbidden
├── NoPlan
├── NotFromHere
└── OriginRefused
RateLimited
├── OverLimit            with the RateLimit fields
├── TooManyAtOnce
└── TooLargeAtOnce
TooLarge
└── BodyTooLarge
Unavailable
└── Overloaded
"""

from collections.abc import Mapping

from shared.errors import Forbidden, RateLimited, TooLarge, Unauthenticated, Unavailable
from shared.limits.fields import ratelimit_fields
from shared.limits.policies import Decision

__all__ = [
    "BadCredential",
    "BodyTooLarge",
    "NoPlan",
    "NotFromHere",
    "OriginRefused",
    "OverLimit",
    "Overloaded",
    "TooLargeAtOnce",
    "TooManyAtOnce",
]


class BadCredential(Unauthenticated):
    """The same words for unknown, revoked, expired and disabled."""

    def __init__(self, detail: str = "these credentials are not valid") -> None:
        super().__init__(detail)


class NoPlan(Forbidden):
    def __init__(self, tier: str) -> None:
        super().__init__(f"no plan is in force for the tier {tier or '-'}")


class NotFromHere(Forbidden):
    """Says neither from where, nor what the key may do there."""

    def __init__(self) -> None:
        super().__init__("these credentials may not be used from this address")


class OriginRefused(Forbidden):
    """The same words whether no tenant allows the origin or only this caller's does not."""

    def __init__(self) -> None:
        super().__init__("web pages of this origin may not call this API; the tenant's admins say which may")


class OverLimit(RateLimited):
    def __init__(self, decision: Decision) -> None:
        super().__init__(f"over the limit: {', '.join(decision.violated)}", decision.retry_after_s, decision.violated)
        self._fields = {name.decode("ascii"): value.decode("ascii") for name, value in ratelimit_fields(decision)}

    @property
    def headers(self) -> Mapping[str, str]:
        return {**super().headers, **self._fields}


class TooManyAtOnce(RateLimited):
    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} requests at once", 1, ["concurrency"])


class TooLargeAtOnce(RateLimited):
    def __init__(self, most: int) -> None:
        super().__init__(f"the large requests of an account take at most {most} bytes at once", 1, ["bodies"])


class BodyTooLarge(TooLarge):
    def __init__(self, most: int) -> None:
        super().__init__(f"a body has at most {most} bytes here")


class Overloaded(Unavailable):
    """The gateway has more to hand on than it takes at a time."""

    slug = "overloaded"
    title = "Too busy"

    def __init__(self) -> None:
        super().__init__("too many requests are under way; this one was not handed on")
