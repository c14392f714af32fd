"""The operators' files as data, and what each gives to a service's process."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from pydantic import SecretStr

from kalpi_local.services import SERVICES, Service
from shared.settings import ServiceSettings
from tests.support.stack import ROOT

__all__ = [
    "BASE",
    "BY_NAME",
    "ROOT",
    "SERVERS",
    "SERVICES",
    "WAYS",
    "Service",
    "blocks",
    "compose",
    "container_of",
    "environment",
    "given_as",
    "image_environment",
    "kustomization",
    "lock",
    "manifest",
    "manifests",
    "resolved",
    "run_shell",
    "secret_variables",
    "settings_class",
    "settings_of",
    "stages",
    "variables",
]

BASE = ROOT / "deploy/k8s/base"
BY_NAME = {service.name: service for service in SERVICES}
SERVERS = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey", "NATS_URL": "nats"}
WAYS = ("compose", "kubernetes")
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


# ----- what the services read


def settings_class(service: Service) -> type[ServiceSettings]:
    found: type[ServiceSettings] = importlib.import_module(f"{service.module}.settings").Settings
    return found


def variables(service: Service) -> dict[str, str]:
    """Every variable the service reads, with its field."""
    cls = settings_class(service)
    prefix = cls.model_config.get("env_prefix", "")
    fields = cls.model_fields.items()
    return {str(field.validation_alias or f"{prefix}{name}".upper()): name for name, field in fields}


def secret_variables(service: Service) -> set[str]:
    """Those of its secrets that it cannot do without."""
    fields = settings_class(service).model_fields
    return {variable for variable, name in variables(service).items() if fields[name].annotation is SecretStr}


def given_as(service: Service, variable: str) -> str:
    """What the operator calls it: each service that owns tables has roles of its own."""
    return f"{service.prefix}_{variable}" if variable.startswith("DATABASE_") and variable != "DATABASE_ADMIN_URL" else variable


def settings_of(service: Service, environ: Mapping[str, str]) -> ServiceSettings:
    """As the process would read them: from this environment and nothing else."""
    with mock.patch.dict(os.environ, environ, clear=True):
        return settings_class(service)()


# ----- images


def stages(service: Service) -> list[list[tuple[str, str]]]:
    """The instructions of each stage of the Dockerfile, without its comments."""
    text = (ROOT / service.name / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for word, _, rest in lines:
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest.strip()))
    return found


def image_environment(service: Service) -> dict[str, str]:
    pairs = (pair.partition("=") for word, rest in stages(service)[-1] if word == "ENV" for pair in shlex.split(rest))
    return {name: value for name, _, value in pairs}


def lock(path: Path) -> dict[str, str]:
    """Name and version of everything it pins."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)", path.read_text(), re.MULTILINE))


# ----- Compose


@cache
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def resolved(text: str, environ: Mapping[str, str]) -> str:
    """With the references that Compose replaces; AssertionError for one that must be set and is not."""

    def value(match: re.Match[str]) -> str:
        dollar, name, kind, default = match.groups()
        if dollar:
            return "$"
        assert environ.get(name) or kind == "-", f"{name} is not set"
        return environ.get(name) or str(default)

    return _REFERENCE.sub(value, text)


# ----- Kubernetes


@cache
def kustomization() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return document


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """Every resource, with the patch over the Deployments; labels, tags and hashes are left to Kustomize."""
    (patch,) = kustomization()["patches"]
    kind = patch["target"]["kind"]
    spec = {"spec": yaml.safe_load((BASE / patch["path"]).read_text())["spec"]}
    documents = (one for name in kustomization()["resources"] for one in yaml.safe_load_all((BASE / name).read_text()))
    return tuple(_laid_over(one, spec) if one["kind"] == kind else one for one in documents)


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in manifests() if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def container_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _laid_over(base: Any, patch: Any) -> Any:
    """A strategic merge, as far as these files need one: lists of named things are merged by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: _laid_over(base[key], value) if key in base else value for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list):
        named = {one["name"]: one for one in patch}
        kept = {one["name"]: _laid_over(one, named[one["name"]]) if one["name"] in named else one for one in base}
        return [*({**named, **kept}.values())]
    return patch


# ----- a process's whole environment


def environment(way: str, service: Service, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` is the operator's `.env`, and for Kubernetes what of it became the Secret."""
    given = _compose_environment(service, environ) if way == "compose" else dict(_pod_environment(service, environ))
    return {**image_environment(service), **given}


def _compose_environment(service: Service, environ: Mapping[str, str]) -> dict[str, str]:
    written: dict[str, str] = compose()["services"][service.name]["environment"]
    return {name: resolved(value, environ) for name, value in written.items()}


def _pod_environment(service: Service, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    container = container_of(manifest("Deployment", service.name))
    maps = {one["name"]: one["literals"] for one in kustomization()["configMapGenerator"]}
    for source in container["envFrom"]:
        for literal in maps[source["configMapRef"]["name"]]:
            name, _, value = literal.partition("=")
            yield name, value
    for variable in container["env"]:
        yield variable["name"], environ[variable["valueFrom"]["secretKeyRef"]["key"]]


# ----- docs/operations.md


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)


def run_shell(script: str, folder: Path, first_on_path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A block of the page, as an operator would paste it in `folder`."""
    path = os.pathsep.join(
        [*([str(first_on_path)] if first_on_path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
