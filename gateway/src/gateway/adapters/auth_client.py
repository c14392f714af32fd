"""auth-service, as the edge asks it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

import jwt
from pydantic import BaseModel, ValidationError

from gateway.domain.addresses import AllowList
from gateway.domain.ports import Identity, Resolved
from shared.access_tokens import ALGORITHM
from shared.errors import Unavailable
from shared.http_client import ServiceClient
from shared.principal import Principal

__all__ = ["AuthClient", "CallerAnswer", "OriginsAnswer", "ResolveAnswer", "resolve_request"]


class CallerAnswer(BaseModel):
    """What is read of one caller's."""

    user_id: str
    tenant_id: str
    tier: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    session_id: str | None
    key_id: str | None
    # an auth-service of the release before does not say it
    quota: Literal["shared", "split"] | None = None
    members: int | None = None
    tenant_role: Literal["owner", "admin"] | None = None
    allowed_origins: tuple[str, ...] = ()
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] | None
    expires_at: datetime | None


class ResolveAnswer(BaseModel):
    """What is read of the answer to `POST /internal/v1/resolve/batch`."""

    callers: list[CallerAnswer | None]


class OriginsAnswer(BaseModel):
    """What is read of the answer to `GET /internal/v1/origins`."""

    origins: list[str]


class _PublicKey(BaseModel):
    """What is read of a key, so that none of another kind gets in, nor the private half of one."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    kid: str
    x: str


class _KeySet(BaseModel):
    keys: list[_PublicKey]


def resolve_request(identities: Sequence[Identity]) -> dict[str, list[dict[str, str | None]]]:
    """The body of `POST /internal/v1/resolve/batch`."""
    return {"callers": [_question(identity) for identity in identities]}


def _question(identity: Identity) -> dict[str, str | None]:
    if identity.key_sha256 is not None:
        return {"kind": "api_key", "key_sha256": identity.key_sha256}
    return {"kind": "session", "user_id": identity.user_id, "session_id": identity.session_id}


class AuthClient:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def resolve(self, identities: Sequence[Identity]) -> Sequence[Resolved | None]:
        response = await self._client.post("/internal/v1/resolve/batch", json=resolve_request(identities))
        if response.status_code != 200:
            raise Unavailable(f"auth-service answered {response.status_code}")
        try:
            answers = ResolveAnswer.model_validate_json(response.content).callers
            callers = [_resolved(answer) if answer is not None else None for answer in answers]
        except ValidationError as error:
            raise Unavailable("auth-service's answer cannot be read") from error
        if len(callers) != len(identities):
            raise Unavailable("auth-service did not answer for everyone")
        return callers

    async def origins(self) -> Sequence[str]:
        response = await self._client.get("/internal/v1/origins")
        if response.status_code != 200:
            raise Unavailable(f"auth-service answered {response.status_code}")
        try:
            return OriginsAnswer.model_validate_json(response.content).origins
        except ValidationError as error:
            raise Unavailable("auth-service's origins cannot be read") from error

    async def signing_keys(self) -> Mapping[str, Any]:
        response = await self._client.get("/.well-known/jwks.json")
        if response.status_code != 200:
            raise Unavailable(f"auth-service answered {response.status_code}")
        try:
            keys = _KeySet.model_validate_json(response.content).keys
            # the algorithm is ours to say, not the key's
            return {key.kid: jwt.PyJWK(key.model_dump(), algorithm=ALGORITHM).key for key in keys}
        except (jwt.PyJWTError, ValueError) as error:
            raise Unavailable("auth-service's keys cannot be read") from error


def _resolved(answer: CallerAnswer) -> Resolved:
    principal = Principal(kind="user", **answer.model_dump(exclude={"expires_at", "allowed_ips", "allowed_origins"}))
    allowed_ips = AllowList(answer.allowed_ips) if answer.allowed_ips is not None else None
    return Resolved(principal, answer.expires_at, allowed_ips, answer.allowed_origins)
