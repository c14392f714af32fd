"""What data-service reads from its environment."""

from pathlib import Path

from pydantic import Field

from data_service.domain.ports import Loading
from shared.settings import NatsUrl, Port, RedisUrl, ServiceSettings, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    model_config = service_config("DATA_")
    port: Port = 8082
    bars_path: Path | None = None
    state_dir: Path
    loading: Loading = "memory"
    import_max_bytes: int = Field(default=256 << 20, ge=1)
    redis_url: RedisUrl = Field(validation_alias="REDIS_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
