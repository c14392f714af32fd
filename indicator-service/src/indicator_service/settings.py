"""What indicator-service reads from its environment."""

from typing import Annotated

from pydantic import Field

from shared.settings import NatsUrl, Port, PostgresUrl, RedisUrl, ServiceSettings, Urls, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    """Batches that were answered and not read yet take at most `unread_answers_mb`, half of it, the longest
    there are, those of one account.

    Answers that took `cache_min_cost_ms` to make are kept in Redis: `cache_ttl_s`, those with the newest bar
    `cache_forming_ttl_s`, those of a group of the catalogue no longer than `cache_group_ttl_s` says, as
    `{"Volume Indicators": 60}`.
    """

    model_config = service_config("INDICATOR_")
    port: Port = 8083
    data_urls: Urls
    bars_cache_mb: int = Field(default=256, ge=1)
    unread_answers_mb: int = Field(default=384, ge=384)
    cache_min_cost_ms: float = Field(default=1.0, ge=0)
    cache_ttl_s: int = Field(default=24 * 3600, ge=1, le=24 * 3600)
    cache_forming_ttl_s: int = Field(default=30 * 60, ge=1, le=24 * 3600)
    cache_group_ttl_s: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    pool_size: int = Field(default=5, ge=1)
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
