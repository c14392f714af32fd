"""What indicator-service reads from its environment."""

from pydantic import Field

from shared.settings import NatsUrl, Port, RedisUrl, ServiceSettings, Urls, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    model_config = service_config("INDICATOR_")
    port: Port = 8083
    data_urls: Urls
    bars_cache_mb: int = Field(default=256, ge=1)
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
