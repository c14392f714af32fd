"""Of what the gateway asks."""

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.api.schemas.common import Answer, Body
from auth_service.domain.model import Quota, SessionOf

__all__ = [
    "ApiKeyQuestion",
    "KeySet",
    "OriginsAnswer",
    "PublicKey",
    "ResolveBatchBody",
    "ResolveBody",
    "ResolvedAnswer",
    "ResolvedBatch",
    "SessionQuestion",
]

MOST_AT_ONCE = 256


class ApiKeyQuestion(Body):
    kind: Literal["api_key"]
    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def about(self) -> str:
        return self.key_sha256


class SessionQuestion(Body):
    kind: Literal["session"]
    user_id: UUID
    session_id: UUID

    @property
    def about(self) -> SessionOf:
        return SessionOf(self.user_id, self.session_id)


ResolveBody = Annotated[ApiKeyQuestion | SessionQuestion, Field(discriminator="kind")]


class ResolveBatchBody(Body):
    callers: list[ResolveBody] = Field(min_length=1, max_length=MOST_AT_ONCE)


class ResolvedAnswer(Answer):
    user_id: UUID
    tenant_id: UUID
    tier: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    session_id: UUID | None
    key_id: UUID | None
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] | None
    expires_at: datetime | None
    quota: Quota | None
    members: int | None
    allowed_origins: tuple[str, ...]
    tenant_role: Literal["owner", "admin"] | None


class ResolvedBatch(Answer):
    callers: list[ResolvedAnswer | None]


class OriginsAnswer(BaseModel):
    origins: list[str]


class PublicKey(BaseModel):
    """RFC 8037, section 2; `kid` is the thumbprint of RFC 7638."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: str
    x: str


class KeySet(BaseModel):
    keys: list[PublicKey]
