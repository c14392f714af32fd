"""Settings: what is fit, and how a process says that something is not, without repeating what may be a secret."""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from shared.settings import (
    EX_CONFIG,
    NatsUrl,
    PostgresUrl,
    RedisUrl,
    ServiceSettings,
    Urls,
    load_settings,
    parse_principal_keys,
    service_config,
)

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
PRINCIPAL_KEYS = f"test:{KEY}"
REDIS_SCHEMES = "not redis://… or rediss://… or unix://… or redis+sentinel://… or rediss+sentinel://…"
FIT = {
    "KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS,
    "REDIS_URL": "redis://127.0.0.1:1",
    "NATS_URL": "nats://127.0.0.1:1",
    "DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
    "EXAMPLE_DATA_URLS": "http://one:1",
}


class _Settings(ServiceSettings):
    model_config = service_config("EXAMPLE_")
    port: int = 1
    data_urls: Urls
    redis_url: RedisUrl
    nats_url: NatsUrl
    database_url: PostgresUrl


def load(monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, str]) -> _Settings:
    # the common variables carry no prefix in the services: here they do, and nothing of this process's own is read
    for name, value in {**FIT, **changes}.items():
        monkeypatch.setenv(name if name.startswith(("EXAMPLE_", "KALPI_", "OTEL_")) else f"EXAMPLE_{name}", value)
    return load_settings(_Settings)


def test_urls_are_read_from_one_variable_without_their_last_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"EXAMPLE_DATA_URLS": "http://one:1/, https://two/api"})
    assert settings.data_urls == ("http://one:1", "https://two/api")


def test_secrets_do_not_show_in_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"REDIS_URL": "redis://:a-password@host"})
    assert settings.redis_url == SecretStr("redis://:a-password@host")
    assert not [secret for secret in (PRINCIPAL_KEYS, "a-password") if secret in repr(settings)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KALPI_PRINCIPAL_KEYS", f" new:{KEY} , old:{KEY},"),
        ("REDIS_URL", "redis://localhost"),
        ("REDIS_URL", "rediss+sentinel://:password@one,two:26380/mymaster"),
        ("REDIS_URL", "rediss://user:p%40ss@host:6380/1?protocol=3"),
        ("REDIS_URL", "unix:///run/valkey.sock?db=1"),
        ("NATS_URL", "nats://user:p%23ss@host:4222"),
        ("NATS_URL", "tls://[::1]:4222"),
        ("NATS_URL", "wss://host/nats"),
        ("DATABASE_URL", "postgres://user@[::1]:5432,host,host:5433/kalpi?sslmode=require"),
        ("DATABASE_URL", "postgresql:///kalpi?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://%2Frun%2Fpostgresql/kalpi"),
        ("EXAMPLE_LOG_LEVEL", "WARNING"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
    ],
)
def test_what_the_libraries_take_is_fit(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    load(monkeypatch, {variable: value})


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("KALPI_PRINCIPAL_KEYS", "changeme", "an entry is not kid:key"),
        ("KALPI_PRINCIPAL_KEYS", "a:short", "not base64url"),
        ("KALPI_PRINCIPAL_KEYS", "a:hunter2A", "shorter than 32 bytes"),
        ("KALPI_PRINCIPAL_KEYS", f"a:{'A' * 43}", "a placeholder, not random bytes"),
        ("KALPI_PRINCIPAL_KEYS", f"a:{KEY},a:{KEY}", "two keys have the same kid"),
        ("KALPI_PRINCIPAL_KEYS", " , ", "no principal key"),
        ("REDIS_URL", "nowhere", REDIS_SCHEMES),
        ("REDIS_URL", "redis:nowhere", REDIS_SCHEMES),
        ("REDIS_URL", "redis+sentinel://:pass@nowhere", "it names no service of Sentinel's"),
        ("REDIS_URL", "redis+sentinel://:hunter2#x@nowhere/mymaster", "the port is not a number"),
        ("REDIS_URL", "redis+sentinel://:hunter2[@nowhere/mymaster", "not a URL"),
        ("REDIS_URL", "redis:///0", "it names no host"),
        ("REDIS_URL", "unix://", "it names no socket"),
        ("REDIS_URL", "redis://:hunter2/@nowhere", "the port is not a number"),
        ("REDIS_URL", "redis://nowhere:70000", "the port is not a number"),
        ("NATS_URL", "nowhere:4222", "not nats://… or tls://… or ws://… or wss://…"),
        ("NATS_URL", "nats://user:hunter2@", "it names no host"),
        ("NATS_URL", "nats://[nowhere", "not a URL"),
        ("DATABASE_URL", "mysql://nowhere/kalpi", "not postgresql://… or postgres://…"),
        ("DATABASE_URL", "postgresql://user:hunter2@@nowhere/kalpi", "more than one @"),
        ("DATABASE_URL", "postgresql://user:hunter2@nowhere,nowhere:port/kalpi", "the port is not a number"),
        ("EXAMPLE_DATA_URLS", "nowhere:8082", "not http://… or https://…"),
        ("EXAMPLE_DATA_URLS", "http://one:1,http://:8082", "it names no host"),
        ("EXAMPLE_DATA_URLS", " , ", "at least 1 item"),
        ("EXAMPLE_LOG_LEVEL", "loudly", "Input should be 'debug', 'info', 'warning', 'error' or 'critical'"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "not http://… or https://…"),
    ],
)
def test_an_unfit_variable_is_one_line_that_says_why_and_not_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, why: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(monkeypatch, {variable: value})
    assert ended.value.code == EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    name, _, message = line.partition(": ")
    assert name.removeprefix("EXAMPLE_") == variable.removeprefix("EXAMPLE_")
    assert why in message
    assert not [piece for piece in (value, "hunter2", "nowhere", KEY) if piece != " , " and piece in line]


def test_principal_keys_keep_their_order() -> None:
    other = KEY[::-1][:42] + "A"
    assert list(parse_principal_keys(f"new:{KEY},old:{other}")) == ["new", "old"]


ADDRESSES = {f"GATEWAY_{name}_URLS": "http://127.0.0.1:1" for name in ("AUTH", "DATA", "INDICATOR", "RATELIMIT")}
OTHERS = {
    "AUTH_SIGNING_KEY": KEY,
    "AUTH_REFRESH_KEY": KEY,
    "AUTH_AUDIT_KEY": KEY,
    "AUTH_MAIL_URL": "file:///tmp/mail",
    "DATA_STATE_DIR": os.devnull,
    "INDICATOR_DATA_URLS": "http://127.0.0.1:1",
    **ADDRESSES,
}


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("gateway", "KALPI_PRINCIPAL_KEYS", "changeme"),
        ("gateway", "GATEWAY_DATA_URLS", "data-service:8082"),
        ("gateway", "GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8,everyone"),
        ("auth_service", "DATABASE_URL", "postgresql://kalpi:hunter2/@db/kalpi"),
        ("auth_service", "KALPI_PRINCIPAL_KEYS", "a:short"),
        ("data_service", "NATS_URL", "foo"),
        ("indicator_service", "REDIS_URL", "foo"),
        ("ratelimit_service", "RATELIMIT_LOG_LEVEL", "foo"),
    ],
)
def test_a_service_with_an_unfit_variable_names_it_and_ends(module: str, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", module],
        env={"PATH": os.environ["PATH"], **FIT, **OTHERS, variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{variable}: ")
    assert not [piece for piece in (value, "hunter2", "everyone") if piece in line]
