"""Who a request is for, as the gateway vouches for it: `X-Kalpi-Principal`.

The header is `base64url(JSON) "." base64url(HMAC-SHA256)`. The JSON names the audience, the key that signed and an expiry at most
30 seconds away, so a captured header is of no use at another service or later. Keys rotate: the first signs, all verify.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import Clock
from shared.errors import Forbidden, Unauthenticated
from shared.limits.plans import Entitlements
from shared.settings import parse_principal_keys

__all__ = ["HEADER", "LIFETIME", "Envelope", "EnvelopeSigner", "EnvelopeVerifier", "KeyRing", "Principal"]

HEADER = "X-Kalpi-Principal"
LIFETIME = timedelta(seconds=30)
_LIFETIME_S = int(LIFETIME.total_seconds())
_REMEMBERED = 512
_SIGNED = 4096


class Principal(BaseModel):
    """A user (with the key or session used) or a service (`svc:<name>` as user_id).

    `tenant_role` is that of a tenant's owners and admins. `quota` is how the members of the tenant use what its tier allows
    (`shared.limits.sharing`), None where a user has a quota of their own; `members` is by how many it is split. What is None is
    left out of the header, so that a release before it reads it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["user", "service"]
    user_id: str
    tenant_id: str = ""
    tier: str = ""
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    session_id: str | None = None
    key_id: str | None = None
    tenant_role: Literal["owner", "admin"] | None = None
    quota: Literal["shared", "split"] | None = None
    members: int | None = Field(default=None, ge=1)

    @property
    def account(self) -> str:
        """Who pays: the tenant, or a service itself."""
        return self.tenant_id or self.user_id

    @classmethod
    def service(cls, name: str) -> "Principal":
        return cls(kind="service", user_id=f"svc:{name}")


class Envelope(BaseModel):
    """`exp` is in Unix seconds; `entitlements` is absent when a service calls for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    principal: Principal
    entitlements: Entitlements | None = None
    aud: str
    kid: str
    client_ip: str | None = None
    exp: int

    @property
    def entitled(self) -> Entitlements:
        """What the plan allows the caller; Forbidden for one who has no plan, as a service calling for itself."""
        if self.entitlements is None:
            raise Forbidden("this caller has no plan")
        return self.entitlements


class KeyRing:
    """The keys of KALPI_PRINCIPAL_KEYS: `kid:base64url`, comma-separated, newest first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("no principal key")
        self._keys = dict(keys)
        self.newest = next(iter(self._keys))

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        return cls(parse_principal_keys(text))

    def sign(self, kid: str, payload: bytes) -> bytes | None:
        """None for an unknown kid."""
        key = self._keys.get(kid)
        return hmac.digest(key, payload, hashlib.sha256) if key is not None else None


class EnvelopeSigner:
    """What it has signed within a second it gives again."""

    def __init__(self, keys: KeyRing, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._signed = lru_cache(_SIGNED)(self._sign)

    def sign(
        self,
        principal: Principal,
        *,
        audience: str,
        entitlements: Entitlements | None = None,
        client_ip: str | None = None,
    ) -> str:
        """The header's value."""
        return self._signed(principal, audience, entitlements, client_ip, int(self._clock().timestamp()) + _LIFETIME_S)

    def _sign(
        self, principal: Principal, audience: str, entitlements: Entitlements | None, client_ip: str | None, exp: int
    ) -> str:
        kid = self._keys.newest
        envelope = Envelope(
            principal=principal,
            entitlements=entitlements,
            aud=audience,
            kid=kid,
            client_ip=client_ip,
            exp=exp,
        )
        payload = _encode(envelope.model_dump_json(exclude_none=True).encode())
        signature = self._keys.sign(kid, payload)
        assert signature is not None  # noqa: S101 - the ring's own newest key
        return (payload + b"." + _encode(signature)).decode("ascii")


class EnvelopeVerifier:
    def __init__(self, keys: KeyRing, audience: str, clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._clock = clock
        # a gateway signs the same bytes for a caller's requests within a second; errors are not remembered
        self._authentic = lru_cache(_REMEMBERED)(self._read)

    def verify(self, header: str | None) -> Envelope:
        """Raises `Unauthenticated`, always with the same words: a caller learns nothing from which check failed."""
        envelope = self._checked(header) if header else None
        if envelope is None:
            raise Unauthenticated("a signed principal is required")
        return envelope

    def _checked(self, header: str) -> Envelope | None:
        """None for one that is not ours, or not ours now."""
        try:
            claimed = self._authentic(header)
        except ValueError:  # base64's and pydantic's are, too
            return None
        seconds_left = claimed.exp - self._clock().timestamp()
        return claimed if 0 < seconds_left <= LIFETIME.total_seconds() + 5 else None

    def _read(self, header: str) -> Envelope:
        """What the header says, when one of the keys signed it for this audience; an error otherwise."""
        payload, _, signature = header.encode("latin-1", "replace").partition(b".")
        claimed = Envelope.model_validate_json(_decode(payload))
        expected = self._keys.sign(claimed.kid, payload)
        if claimed.aud != self._audience or expected is None or not hmac.compare_digest(expected, _decode(signature)):
            raise ValueError("not signed for this audience")
        return claimed


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> Any:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
