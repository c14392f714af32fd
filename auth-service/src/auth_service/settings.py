"""What auth-service reads from its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from shared.settings import NatsUrl, Port, PostgresUrl, SecretKey, ServiceSettings, decode_key, service_config

__all__ = ["Settings"]


def _seed(secret: SecretStr) -> SecretStr:
    if len(decode_key(secret.get_secret_value())) != 32:
        raise ValueError("an Ed25519 seed has exactly 32 bytes")
    return secret


Seed = Annotated[SecretKey, AfterValidator(_seed)]


class Settings(ServiceSettings):
    """`signing_key` is what every key of the ring is derived from (`auth_service.adapters.tokens`). `previous_signing_key` signs
    nothing, but its keys are published too: what was signed with it, or will be, is valid.
    `audit_key` signs heads of the audit chain: one for `audit_head_every` events, or after `audit_head_after_s` for fewer.

    Argon2's parameters are RFC 9106's second recommendation (section 4), the one for where memory is shared: what a guess costs
    an attacker is 64 MiB and some 100 ms of a core, and so does a login here. So few are computed at a time (2 x 64 MiB), and no
    more wait than are done before the gateway gives up, after 2 s.
    """

    model_config = service_config("AUTH_")
    port: Port = 8081
    signing_key: Seed
    previous_signing_key: Seed | None = None
    refresh_key: SecretKey
    audit_key: Seed
    audit_heads_path: Path | None = None
    audit_head_every: int = Field(default=100, ge=1)
    audit_head_after_s: float = Field(default=60, gt=0)
    session_days: int = Field(default=30, ge=1, le=365)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=64 * 1024, ge=8)
    argon2_parallelism: int = Field(default=4, ge=1)
    hashing_threads: int = Field(default=2, ge=1)
    hashing_waiting: int = Field(default=16, ge=0)
    key_use_flush_s: float = Field(default=10, gt=0, le=3600)
    pool_size: int = Field(default=10, ge=2)
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    replica_url: PostgresUrl | None = Field(default=None, validation_alias="DATABASE_REPLICA_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
