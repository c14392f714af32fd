"""The errors a Kalpi service answers with.

    KalpiError
    ├── InvalidInput       422  errors: [{loc, msg, type}]
    ├── Unauthenticated    401
    ├── Forbidden          403
    │   ├── ScopeRequired       required_scope
    │   └── TierRequired        required_tier
    ├── NotFound           404
    ├── Conflict           409
    ├── TooLarge           413
    ├── RateLimited        429  violated-policies, Retry-After
    └── Unavailable        503  Retry-After

A service adds its own leaves in `domain/errors.py`; `shared.problems` maps the tree, once, to RFC 9457 problem+json.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "Conflict",
    "Forbidden",
    "InvalidInput",
    "KalpiError",
    "NotFound",
    "RateLimited",
    "ScopeRequired",
    "TierRequired",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]


class KalpiError(Exception):
    """An answer other than success: `status` and `slug` belong to the class, `detail` to the case."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def members(self) -> Mapping[str, Any]:
        """Extension members of the problem document (RFC 9457, section 3.2)."""
        return {}

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class InvalidInput(KalpiError):
    """`errors` are `{"loc": ["query", "time_period"], "msg": …, "type": …}`, one per field at fault."""

    status = 422
    slug = "invalid-input"
    title = "Invalid input"

    def __init__(self, detail: str, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(detail)
        self.errors = errors

    @classmethod
    def field(cls, *loc: str | int, msg: str, type_: str = "value_error") -> "InvalidInput":
        """One field at fault; `loc` starts with where it stands: query, path, body, header."""
        return cls(f"{'.'.join(map(str, loc))}: {msg}", [{"loc": list(loc), "msg": msg, "type": type_}])

    @property
    def members(self) -> Mapping[str, Any]:
        return {"errors": self.errors}


class Unauthenticated(KalpiError):
    status = 401
    slug = "unauthenticated"
    title = "Authentication required"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="kalpi"'}


class Forbidden(KalpiError):
    status = 403
    slug = "forbidden"
    title = "Forbidden"


class ScopeRequired(Forbidden):
    slug = "scope-required"
    title = "Another scope is required"

    def __init__(self, required_scope: str) -> None:
        super().__init__(f"the scope {required_scope} is required")
        self.required_scope = required_scope

    @property
    def members(self) -> Mapping[str, Any]:
        return {"required_scope": self.required_scope}


class TierRequired(Forbidden):
    slug = "tier-required"
    title = "A higher tier is required"

    def __init__(self, detail: str, required_tier: str | None) -> None:
        super().__init__(detail)
        self.required_tier = required_tier

    @property
    def members(self) -> Mapping[str, Any]:
        return {"required_tier": self.required_tier}


class NotFound(KalpiError):
    status = 404
    slug = "not-found"
    title = "Not found"


class Conflict(KalpiError):
    status = 409
    slug = "conflict"
    title = "Conflict"


class TooLarge(KalpiError):
    status = 413
    slug = "too-large"
    title = "Content too large"


class _RetryLater(KalpiError):
    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, retry_after_s)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class RateLimited(_RetryLater):
    status = 429
    slug = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str, retry_after_s: int, violated_policies: Sequence[str]) -> None:
        super().__init__(detail, retry_after_s)
        self.violated_policies = violated_policies

    @property
    def members(self) -> Mapping[str, Any]:
        return {"violated-policies": list(self.violated_policies)}


class Unavailable(_RetryLater):
    status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail, retry_after_s)
