"""What auth-service reads from its environment."""

from email.utils import parseaddr
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from shared.settings import NatsUrl, Port, PostgresUrl, SecretKey, ServiceSettings, decode_key, service_config

__all__ = ["Settings"]


def _seed(secret: SecretStr) -> SecretStr:
    if len(decode_key(secret.get_secret_value())) != 32:
        raise ValueError("an Ed25519 seed has exactly 32 bytes")
    return secret


Seed = Annotated[SecretKey, AfterValidator(_seed)]


def _mail(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its words repeat what may be a piece of the password
        raise ValueError("not a URL; in a password, / ? # and @ are written %2F %3F %23 and %40") from None
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("a folder is file:///path")
    elif parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.query not in {"", "tls=none"}:
        raise ValueError("not smtp://host, smtps://host or file:///path")
    return secret


def _sender(text: str) -> str:
    name, address = parseaddr(text)
    if "@" not in address or any(not part.isprintable() for part in (name, address)):
        raise ValueError("not an address")
    return text


MailUrl = Annotated[SecretStr, AfterValidator(_mail)]


class Settings(ServiceSettings):
    """`signing_key` is what every key of the ring is derived from (`auth_service.adapters.tokens`). `previous_signing_key` signs
    nothing, but its keys are published too: what was signed with it, or will be, is valid.
    `audit_key` signs heads of the audit chain: one for `audit_head_every` events, or after `audit_head_after_s` for fewer.
    `mail_url` says where mail goes: to an SMTP server or into a folder. `reset_url` and `invite_url` are pages that take a
    token behind #.
    `sessions_kept_days` and `keys_kept_days` are counted from when they ended (`auth_service.domain.sweeping`).

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
    mail_url: MailUrl
    mail_from: Annotated[str, AfterValidator(_sender)] = "Kalpi <kalpi@localhost>"
    reset_minutes: int = Field(default=30, ge=5, le=1440)
    reset_url: str = ""
    invite_url: str = ""
    session_days: int = Field(default=30, ge=1, le=365)
    refreshes_per_minute: int = Field(default=60, ge=1, le=10_000)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=64 * 1024, ge=8)
    argon2_parallelism: int = Field(default=4, ge=1)
    hashing_threads: int = Field(default=2, ge=1)
    hashing_waiting: int = Field(default=16, ge=0)
    ip_failures_per_minute: int = Field(default=300, ge=1)
    ip_registrations_per_minute: int = Field(default=300, ge=1)
    key_use_flush_s: float = Field(default=10, gt=0, le=3600)
    sweep_every_s: float = Field(default=600, gt=0, le=86400)
    sessions_kept_days: int = Field(default=7, ge=1, le=3650)
    keys_kept_days: int = Field(default=90, ge=1, le=3650)
    pool_size: int = Field(default=10, ge=2)
    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")
    replica_url: PostgresUrl | None = Field(default=None, validation_alias="DATABASE_REPLICA_URL")
    nats_url: NatsUrl = Field(validation_alias="NATS_URL")
