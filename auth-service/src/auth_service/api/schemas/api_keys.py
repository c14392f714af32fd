"""Of API keys."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from auth_service.api.schemas.common import Answer, Body, page_of
from auth_service.domain.keys import NewKey
from auth_service.domain.model import ApiKey
from shared.display import displayable
from shared.scopes import DATA_SCOPES, SCOPES, Scope

__all__ = ["ApiKeyAnswer", "ApiKeyPage", "NewApiKey", "NewApiKeyAnswer", "Rotation"]

MOST_NETWORKS = 64


def _network(text: str) -> str:
    """As it is stored: a network of one for an address, and of IPv4 for IPv4 in the clothes of IPv6."""
    if "%" in text:
        raise ValueError("an address of one interface alone")
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return str(IPv4Network((mapped, network.prefixlen - 96)) if mapped is not None and network.prefixlen >= 96 else network)


NetworkText = Annotated[str, Field(max_length=64, examples=["203.0.113.7", "2001:db8::/32"]), AfterValidator(_network)]


class NewApiKey(Body):
    name: Annotated[str, Field(max_length=64), AfterValidator(displayable)] = ""
    scopes: Annotated[
        tuple[Scope, ...], Field(min_length=1, max_length=len(SCOPES), description="what the key may be used for")
    ] = DATA_SCOPES
    expires_in_days: Annotated[int | None, Field(ge=1, le=3650)] = None
    allowed_ips: Annotated[
        list[NetworkText] | None,
        Field(
            min_length=1, max_length=MOST_NETWORKS, description="addresses and networks the key works from; null: from anywhere"
        ),
    ] = None

    def asked(self) -> NewKey:
        return NewKey(
            self.name,
            self.scopes,
            timedelta(days=self.expires_in_days) if self.expires_in_days is not None else None,
            tuple(map(ip_network, dict.fromkeys(self.allowed_ips))) if self.allowed_ips is not None else None,
        )


class Rotation(Body):
    grace_minutes: Annotated[int, Field(ge=0, le=1440, description="how long the old key goes on working")] = 0


class ApiKeyAnswer(Answer):
    """`last_used_at` is some seconds late, and tells of a use that was refused, too. One that was `replaced_by` another ends at
    `expires_at`."""

    id: UUID
    name: str
    key_hint: str
    scopes: tuple[Scope, ...]
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    replaced_by: UUID | None


class NewApiKeyAnswer(ApiKeyAnswer):
    """The only time `api_key` is shown."""

    api_key: str = Field(repr=False)

    @classmethod
    def shown(cls, secret: str, key: ApiKey) -> Self:
        return cls(**ApiKeyAnswer.model_validate(key).model_dump(), api_key=secret)


class ApiKeyPage(BaseModel):
    data: list[ApiKeyAnswer]
    next_cursor: UUID | None

    @classmethod
    def of(cls, keys: Sequence[ApiKey], limit: int) -> "ApiKeyPage":
        return cls(**page_of(keys, limit, ApiKeyAnswer.model_validate))
