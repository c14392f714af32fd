"""The five images: built from what the workspace is built from, and started as the services are."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import shared.cli
from tests.deploy.files import ROOT, SERVICES, Service, image_environment, lock, settings_class, stages

each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def last(service: Service, word: str) -> list[str]:
    return [rest for found, rest in stages(service)[-1] if found == word]


def ignored(path: str) -> bool:
    """By .dockerignore, where `*` leaves everything out that a later `!` does not name."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    return f"!{path.partition('/')[0]}" not in lines


@each_service
def test_the_image_runs_the_module_and_listens_on_the_services_port(service: Service) -> None:
    (entry,) = last(service, "ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", service.module]
    assert importlib.util.find_spec(f"{service.module}.__main__")
    fields = settings_class(service).model_fields
    ports = [str(field.default) for name, field in fields.items() if name in {"port", "metrics_port"}]
    assert last(service, "EXPOSE") == ports
    assert image_environment(service)[f"{service.prefix}_PORT"] == ports[0]


@each_service
def test_the_image_asks_for_readiness_without_a_tool_of_its_own(service: Service) -> None:
    (check,) = last(service, "HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    assert f"os.environ['{service.prefix}_PORT']" in command[2]
    assert "'GET', '/health/ready'" in command[2]
    compile(command[2], "HEALTHCHECK", "exec")


@each_service
def test_the_image_is_not_roots_and_its_base_can_be_named(service: Service) -> None:
    assert [rest.split()[0] for stage in stages(service) for word, rest in stage if word == "FROM"] == ["${BASE_IMAGE}"] * 2
    words = [word for word, _ in stages(service)[-1]]
    assert last(service, "USER") == ["10001:10001"]
    assert "RUN" not in words[words.index("USER") :]


@each_service
def test_what_the_build_copies_is_there_and_reaches_the_builder(service: Service) -> None:
    copied = [rest.split() for word, rest in stages(service)[0] if word == "COPY"]
    assert [path for *_, path in copied] == ["./", f"{service.name}/", "shared", service.name]
    for source, _ in copied:
        assert (ROOT / source).exists()
        assert not ignored(source)


def test_neither_secrets_nor_state_nor_tests_reach_the_builder() -> None:
    for path in (".env", ".kalpi", ".git", "tests", "deploy", "docs"):
        assert ignored(path)


@each_service
def test_the_images_versions_are_those_that_are_tested(service: Service) -> None:
    pinned = lock(ROOT / service.name / "requirements.lock")
    assert pinned.items() <= lock(ROOT / "requirements.lock").items()
    assert "kalpi-shared" not in pinned


@each_service
def test_the_images_lock_holds_all_that_its_packages_ask_for(service: Service) -> None:
    pinned = lock(ROOT / service.name / "requirements.lock")
    asked = {name for folder in ("shared", service.name) for name in dependencies(ROOT / folder)}
    assert asked - {"kalpi-shared"} <= set(pinned)


def dependencies(folder: Path) -> set[str]:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower().replace("_", "-") for line in project["dependencies"]}


def test_the_build_tool_is_in_the_workspaces_lock() -> None:
    """The Dockerfiles take it from there, by this name."""
    assert "uv-build" in lock(ROOT / "requirements.lock")


def test_the_migration_is_a_subcommand_where_it_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in auth-service's image, which brings no commands of its own: `kalpi migrate` is what operators run there."""
    migrated: list[tuple[str, ...]] = []

    class Entry:
        name = "auth"

        def load(self) -> object:
            return lambda *urls: migrated.append(urls)

    monkeypatch.setattr(shared.cli, "entry_points", lambda group: [Entry()] if group == "kalpi.migrations" else [])
    done = CliRunner().invoke(shared.cli._root(), ["migrate"], env={"DATABASE_URL": "postgresql://db/kalpi"})
    assert (done.exit_code, migrated) == (0, [("postgresql://db/kalpi",) * 2]), done.output
    environ = {
        "DATABASE_URL": "postgresql://app@db/kalpi",
        "DATABASE_OWNER_URL": "postgresql://owner@db/kalpi",
        "DATABASE_ADMIN_URL": "",
    }
    CliRunner().invoke(shared.cli._root(), ["migrate"], env=environ)
    assert migrated[1] == ("postgresql://owner@db/kalpi", "postgresql://app@db/kalpi")
