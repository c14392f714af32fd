"""What the gateway reads from its environment."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from shared.settings import NatsUrl, Port, RedisUrl, ServiceSettings, Urls, service_config, split_list

__all__ = ["Settings"]


class Settings(ServiceSettings):
    """`routes_path` is a route file in the place of the one that ships, looked at again each `routes_look_s`.

    `upstream_timeout_s` is the longest wait for an answer of a service where its route says nothing else,
    `upstream_connections` how many there are to each instance at most.

    `forwarded_at_once` are the requests that may be under way at the services, `forwarded_at_once_per_service` at one of them; of
    both the part `kept_for_paid` is for all tiers but the lowest.

    `max_body_bytes` is what a client may send where its route says nothing else, `held_body_mb` what all bodies together may take
    while they are held.

    `cache_mb` is what answers that are kept may take. `hsts_s` is for how long browsers are told to come by TLS alone: 0 says
    nothing of it. `log_hits` writes a line for each answer from the cache, too, which then take several times as long.
    Request events in `usage_mb` of memory wait while NATS is away; `usage_stream_mb` is what their stream may hold.

    `trusted_proxies` are the networks whose X-Forwarded-For is believed.
    """

    model_config = service_config("GATEWAY_")
    port: Port = 8080
    metrics_port: Port = 9080
    auth_urls: Urls
    data_urls: Urls
    indicator_urls: Urls
    ratelimit_urls: Urls
    routes_path: Path | None = None
    routes_look_s: float = Field(default=1.0, gt=0)
    upstream_timeout_s: float = Field(default=2.0, gt=0)
    upstream_connections: int = Field(default=512, ge=1)
    forwarded_at_once: int = Field(default=1024, ge=1)
    forwarded_at_once_per_service: int = Field(default=512, ge=1)
    kept_for_paid: float = Field(default=0.25, ge=0, le=0.9)
    max_body_bytes: int = Field(default=1 << 20, ge=0)
    held_body_mb: int = Field(default=64, ge=1)
    cache_mb: int = Field(default=128, ge=0)
    hsts_s: int = Field(default=0, ge=0)
    log_hits: bool = False
    usage_mb: int = Field(default=64, ge=1)
    usage_stream_mb: int = Field(default=128, ge=1)
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(split_list)] = ()
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
