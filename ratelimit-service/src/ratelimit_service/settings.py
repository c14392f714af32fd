"""What ratelimit-service reads from its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.settings import NatsUrl, Port, PostgresUrl, RedisUrl, ServiceSettings, service_config

__all__ = ["Settings"]


KeptDays = Annotated[int, Field(ge=8, le=36_525)]
"""At least as many as an event may take to come."""


class Settings(ServiceSettings):
    """History of plans and changes older than `history_days` goes, but for what is in force.

    Of requests that succeeded about `log_per_s` a second are kept in the log. Its rows, and those of each grain of rollups,
    stay for so many days. `usage_pool_size` connections read them, beside those of plans: neither waits for the other. As many
    more read the replica, where there is one.
    """

    model_config = service_config("RATELIMIT_")
    port: Port = 8084
    plans_path: Path | None = None
    plans_look_s: float = Field(default=1.0, gt=0)
    history_days: int = Field(default=730, ge=1, le=36_525)
    pool_size: int = Field(default=5, ge=1)
    usage_pool_size: int = Field(default=4, ge=1)
    log_per_s: float = Field(default=200.0, ge=1)
    keep_log_days: KeptDays = 30
    keep_minute_days: KeptDays = 14
    keep_hour_days: KeptDays = 100
    keep_day_days: KeptDays = 1100
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    replica_url: PostgresUrl | None = Field(default=None, validation_alias="DATABASE_REPLICA_URL")
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
