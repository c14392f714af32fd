"""Settings are read from the environment once, are frozen, and are passed in; a process with unfit settings does not start."""

import base64
import binascii
import sys
from typing import Annotated, NoReturn, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["EX_CONFIG", "Port", "SecretKey", "ServiceSettings", "Urls", "decode_key", "load_settings", "service_config"]

EX_CONFIG = 78
"""Exit code of a process whose settings are missing or unfit (sysexits.h)."""


def decode_key(text: str) -> bytes:
    """The bytes of an unpadded base64url key; ValueError when it is not one, or too short or too plain to be random."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
    if len(key) < 32:
        raise ValueError("shorter than 32 bytes")
    if len(set(text)) < 16:
        raise ValueError("a placeholder, not random bytes")
    return key


def _fit_key(secret: SecretStr) -> SecretStr:
    decode_key(secret.get_secret_value())
    return secret


def _split(value: object) -> object:
    return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip()) if isinstance(value, str) else value


SecretKey = Annotated[SecretStr, AfterValidator(_fit_key)]
Port = Annotated[int, Field(ge=0, le=65535)]
Urls = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
"""One or more base URLs of a service, comma-separated in the environment."""


def service_config(prefix: str) -> SettingsConfigDict:
    """A service's own part of the configuration: its variables' prefix."""
    return SettingsConfigDict(env_prefix=prefix)


class ServiceSettings(BaseSettings):
    """What every service reads; common variables carry no prefix, the others the service's own."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)
    host: str = "127.0.0.1"
    port: Port
    fd: int | None = None
    log_level: str = "info"
    drain_delay_s: float = Field(default=0.0, ge=0)
    principal_keys: SecretStr = Field(validation_alias="KALPI_PRINCIPAL_KEYS")
    otlp_endpoint: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")


S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """The settings of this process, or its end: one line per variable that is missing or unfit, never its value."""
    try:
        return cls()
    except ValidationError as error:
        _refuse(cls, error)


def _refuse(cls: type[BaseSettings], error: ValidationError) -> NoReturn:
    prefix = cls.model_config.get("env_prefix", "")
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0])
        variable = name if name.isupper() else f"{prefix}{name}".upper()
        sys.stderr.write(f"{variable}: {fault['msg']}\n")
    sys.exit(EX_CONFIG)
