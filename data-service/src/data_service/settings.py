"""What data-service reads from its environment."""

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import Port, ServiceSettings, service_config

__all__ = ["Settings"]


class Settings(ServiceSettings):
    model_config = service_config("DATA_")
    port: Port = 8082
    bars_path: Path | None = None
    state_dir: Path
    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    nats_url: SecretStr = Field(validation_alias="NATS_URL")
