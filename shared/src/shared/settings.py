"""Settings are read from the environment once, are frozen, and are passed in; a process with unfit settings does not start."""

import base64
import binascii
import sys
from collections.abc import Callable
from typing import Annotated, Literal, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.sentinel_url import SCHEMES, parse_sentinel_url

__all__ = [
    "EX_CONFIG",
    "NatsUrl",
    "Port",
    "PostgresUrl",
    "RedisUrl",
    "SecretKey",
    "ServiceSettings",
    "Urls",
    "decode_key",
    "load_settings",
    "parse_principal_keys",
    "service_config",
    "split_list",
]

EX_CONFIG = 78
"""Exit code of a process whose settings are missing or unfit (sysexits.h)."""
_ESCAPES = "in a password, / ? # and @ are written %2F %3F %23 and %40"


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


def parse_principal_keys(text: str) -> dict[str, bytes]:
    """Keys by their kid, newest first, from `kid:base64url`, comma-separated; ValueError when that is not what it is."""
    keys: dict[str, bytes] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        kid, separator, encoded = entry.partition(":")
        if not (kid and separator):
            raise ValueError("an entry is not kid:key")
        if kid in keys:
            raise ValueError("two keys have the same kid")
        keys[kid] = decode_key(encoded)
    if not keys:
        raise ValueError("no principal key")
    return keys


def _secret(check: Callable[[str], object]) -> AfterValidator:
    """Holds a secret to `check`, which raises a ValueError that does not repeat it."""

    def checked(secret: SecretStr) -> SecretStr:
        check(secret.get_secret_value())
        return secret

    return AfterValidator(checked)


def _parts(url: str, *schemes: str) -> SplitResult:
    """The parts of a URL of one of the schemes. The library's own errors repeat what may be a piece of a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in schemes or not url.lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"not {' or '.join(f'{scheme}://…' for scheme in schemes)}")
    return parts


def _needs_host(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port is not a number from 0 to 65535 ({_ESCAPES})") from None
    if not parts.hostname:
        raise ValueError("it names no host")


def _fit_redis(url: str) -> None:
    """What `shared.store` takes: a socket has a path, a server a host, and what Sentinel knows a name."""
    found = parse_sentinel_url(url)
    parts = _parts(url if found is None else found.store, "redis", "rediss", "unix", *SCHEMES)
    if parts.scheme != "unix":
        _needs_host(parts)
    elif not parts.path:
        raise ValueError("it names no socket")


def _fit_nats(url: str) -> None:
    """What nats-py takes, but for a host alone: what is then meant is a guess."""
    _needs_host(_parts(url, "nats", "tls", "ws", "wss"))


def _fit_postgres(url: str) -> None:
    """asyncpg takes several hosts with their ports, or none and a socket's folder in a parameter."""
    parts = _parts(url, "postgresql", "postgres")
    if parts.netloc.count("@") > 1:
        raise ValueError(f"more than one @ ({_ESCAPES})")
    for host in filter(None, parts.netloc.rpartition("@")[2].split(",")):
        _needs_host(_parts(f"postgres://{host}", "postgres"))


def _fit_http(url: str) -> str:
    _needs_host(_parts(url, "http", "https"))
    return url


def _fit_endpoint(url: str) -> str:
    return url and _fit_http(url)


def _fit_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_fit_http(url) for url in urls)


def split_list(value: object) -> object:
    """For `BeforeValidator`: a list is comma-separated in the environment."""
    return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


SecretKey = Annotated[SecretStr, _secret(decode_key)]
PrincipalKeys = Annotated[SecretStr, _secret(parse_principal_keys)]
RedisUrl = Annotated[SecretStr, _secret(_fit_redis)]
NatsUrl = Annotated[SecretStr, _secret(_fit_nats)]
PostgresUrl = Annotated[SecretStr, _secret(_fit_postgres)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]
Port = Annotated[int, Field(ge=0, le=65535)]
Urls = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list), Field(min_length=1), AfterValidator(_fit_urls)]
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
    log_level: LogLevel = "info"
    drain_delay_s: float = Field(default=0.0, ge=0)
    principal_keys: PrincipalKeys = Field(validation_alias="KALPI_PRINCIPAL_KEYS")
    otlp_endpoint: Annotated[str, AfterValidator(_fit_endpoint)] = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )


S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """The settings of this process, or its end: one line per variable that is missing or unfit, never its value."""
    try:
        return cls()
    except ValidationError as error:
        _refuse(cls, error)


def _refuse(cls: type[BaseSettings], error: ValidationError) -> NoReturn:
    prefix = cls.model_config.get("env_prefix", "")
    told: dict[str, str] = {}
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0])
        variable = name if name.isupper() else f"{prefix}{name}".upper()
        # a list has a fault for each entry and each type an entry might have had: the first says enough
        told.setdefault(variable, fault["msg"].removeprefix("Value error, "))
    sys.stderr.writelines(f"{variable}: {message}\n" for variable, message in told.items())
    sys.exit(EX_CONFIG)
