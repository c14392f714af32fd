"""docs/operations.md: its commands do what the page says, as far as they need neither Docker nor a cluster."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from auth_service.cli.admin import app as admin
from auth_service.seed import SeedUser
from ratelimit_service.cli.limits import app as limits
from ratelimit_service.cli.plans import app as plans
from tests.deploy.files import ROOT, blocks, compose, container_of, manifests, run_shell

COMMANDS = {"admin": admin, "plans": plans, "limits": limits}


def the_block(words: str) -> str:
    (found,) = (block for block in blocks() if words in block)
    return found


MAKE_ENV, MAKE_ADMIN, MAKE_SECRET, RENDER = map(
    the_block, ("python3 - > .env", "auth_service.seed", "create secret", "kubectl kustomize")
)


def test_the_env_has_every_variable_that_compose_asks_for(environ: Mapping[str, str]) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert asked == set(environ) - {"COMPOSE_PROFILES", "DATABASE_ADMIN_URL"}
    assert environ["COMPOSE_PROFILES"] == "postgres,valkey,nats"


def test_the_env_is_private_and_never_replaced(env_folder: Path) -> None:
    before = (env_folder / ".env").read_text()
    assert (env_folder / ".env").stat().st_mode & 0o777 == 0o600
    assert run_shell(MAKE_ENV, env_folder).returncode != 0
    assert (env_folder / ".env").read_text() == before


def test_no_two_secrets_are_the_same_and_none_needs_quoting(environ: Mapping[str, str]) -> None:
    secrets = [value.rpartition(":")[2] for name, value in environ.items() if not name.endswith(("_URL", "_PROFILES"))]
    roles = [urlsplit(value).password for name, value in environ.items() if re.search("_DATABASE_(OWNER_)?URL$", name)]
    assert (len(set(secrets)), len(set(roles)), set(secrets) & set(roles)) == (7, 6, set())
    for value in environ.values():
        assert re.fullmatch(r"[\w:/@.,-]+", value)


def test_the_cluster_is_given_the_secrets_that_its_pods_name_and_no_other(env_folder: Path, environ: Mapping[str, str]) -> None:
    """With a stand-in for kubectl that keeps what it is given."""
    tools = env_folder / "bin"
    tools.mkdir()
    (tools / "kubectl").write_text('#!/bin/sh\nprintf "%s\\n" "$*" > arguments\ncat > given\n')
    (tools / "kubectl").chmod(0o755)
    assert run_shell(MAKE_SECRET, env_folder, tools).returncode == 0
    assert (env_folder / "arguments").read_text() == "-n kalpi create secret generic kalpi --from-env-file=/dev/stdin\n"
    given = dict(line.split("=", 1) for line in (env_folder / "given").read_text().splitlines())
    pods = [one for one in manifests() if one["kind"] in {"Deployment", "Job"}]
    named = {variable["valueFrom"]["secretKeyRef"]["key"] for pod in pods for variable in container_of(pod)["env"]}
    assert given == {name: environ[name] for name in named}


def test_the_base_is_shown_by_the_command_that_says_so() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on this machine's PATH")
    assert "kind: Deployment" in run_shell(RENDER, ROOT).stdout


def test_every_other_command_is_one_of_kalpi_or_needs_docker_or_a_cluster() -> None:
    tested = {MAKE_ENV, MAKE_SECRET, RENDER}
    for block in (block for block in blocks() if block not in tested):
        command, _, _text = block.partition("<<")
        for line in command.splitlines():
            group = next((name for name in COMMANDS if line.startswith(f"kalpi {name} ")), None)
            if group is not None:
                asked = shlex.split(line, comments=True)[2:]
                assert CliRunner().invoke(COMMANDS[group], [*asked, "--help"]).exit_code == 0, line
            else:
                assert re.match(r"docker compose |kubectl ", line), block


def test_the_first_administrator_is_what_the_seeding_understands() -> None:
    document = json.loads(MAKE_ADMIN.partition("<<END\n")[2].partition("END\n")[0])
    (user,) = (SeedUser.model_validate(user) for user in document["users"])
    assert (user.roles, user.password) == (("admin",), "$PASSWORD")


def test_the_gateway_is_where_the_page_says() -> None:
    assert compose()["services"]["gateway"]["ports"] == ["${KALPI_PUBLISH:-127.0.0.1:8080}:8080"]
    assert "http://127.0.0.1:8080" in (ROOT / "docs/operations.md").read_text()
