"""What ratelimit-service reads from its environment."""

from pathlib import Path

from pydantic import Field

from shared.settings import NatsUrl, Port, PostgresUrl, RedisUrl, ServiceSettings, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    """History older than `history_days` goes, but for what is in force."""

    model_config = service_config("RATELIMIT_")
    port: Port = 8084
    plans_path: Path | None = None
    plans_look_s: float = Field(default=1.0, gt=0)
    history_days: int = Field(default=730, ge=1, le=36_525)
    pool_size: int = Field(default=5, ge=1)
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
