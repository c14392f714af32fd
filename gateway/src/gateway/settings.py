"""What the gateway reads from its environment."""

from pydantic import Field, SecretStr

from shared.settings import Port, ServiceSettings, Urls, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    """`upstream_timeout_s` is the longest wait for the next bytes of a service; `max_body_bytes` what a client may send."""

    model_config = service_config("GATEWAY_")
    port: Port = 8080
    metrics_port: Port = 9080
    auth_urls: Urls
    data_urls: Urls
    indicator_urls: Urls
    ratelimit_urls: Urls
    upstream_timeout_s: float = Field(default=2.0, gt=0)
    max_body_bytes: int = Field(default=1 << 20, ge=0)
    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    nats_url: SecretStr = Field(validation_alias="NATS_URL")
