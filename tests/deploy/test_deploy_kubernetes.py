"""deploy/k8s/base: whole, consistent with itself and with the services, and rendered by Kustomize as it reads."""

import copy
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from data_service.adapters.uploads import MOST_ROWS, rows_within
from data_service.api.imports import MOST_BYTES
from shared.server import DRAIN_S
from tests.deploy.files import (
    BASE,
    ROOT,
    SERVICES,
    Service,
    container_of,
    kustomization,
    manifest,
    manifests,
    settings_class,
)

NAMES = [service.name for service in SERVICES]
TAGS = {one["name"]: one["newTag"] for one in kustomization()["images"]}
OWNERS = [service for service in SERVICES if service.schema is not None]
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
WORKLOADS = [one for one in manifests() if one["kind"] in {"Deployment", "Job"}]
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: one["metadata"]["name"])


def test_every_file_is_part_of_the_base() -> None:
    listed = {*kustomization()["resources"], *(one["path"] for one in kustomization()["patches"])}
    assert listed | {"kustomization.yaml"} == {path.name for path in BASE.iterdir()}


def test_each_service_has_what_a_service_needs_and_nothing_is_a_secret() -> None:
    found = sorted((one["kind"], one["metadata"]["name"]) for one in manifests())
    per_service = ["Deployment", "Service", "HorizontalPodAutoscaler"]
    several = [name for name in NAMES if name != "data-service"]
    assert found == sorted(
        [
            *((kind, name) for kind in per_service for name in NAMES),
            *(("PodDisruptionBudget", name) for name in several),
            ("PersistentVolumeClaim", "data-service-state"),
            *(("Job", f"migrate-{service.schema}") for service in OWNERS),
        ]
    )
    assert sorted(one["name"] for one in kustomization()["configMapGenerator"]) == sorted(NAMES)


@each_service
def test_the_ports_are_the_services_own_all_the_way(service: Service) -> None:
    fields = settings_class(service).model_fields
    ports = {"http": fields["port"].default}
    if "metrics_port" in fields:
        ports["metrics"] = fields["metrics_port"].default
    container = container_of(manifest("Deployment", service.name))
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == ports
    (offered,) = manifest("Service", service.name)["spec"]["ports"]
    assert (offered["port"], offered["targetPort"]) == (ports["http"], "http")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"


@each_service
def test_what_selects_a_service_finds_it(service: Service) -> None:
    label = {"app.kubernetes.io/name": service.name}
    deployment = manifest("Deployment", service.name)["spec"]
    assert deployment["selector"]["matchLabels"] == label == deployment["template"]["metadata"]["labels"]
    assert manifest("Service", service.name)["spec"]["selector"] == label
    target = manifest("HorizontalPodAutoscaler", service.name)["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name}
    for budget in (
        one for one in manifests() if one["kind"] == "PodDisruptionBudget" and one["metadata"]["name"] == service.name
    ):
        assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": label}}


@each_service
def test_a_service_scales_on_its_own_but_for_the_one_that_writes(service: Service) -> None:
    scaler = manifest("HorizontalPodAutoscaler", service.name)
    assert scaler["apiVersion"] == "autoscaling/v2"
    deployment = manifest("Deployment", service.name)["spec"]
    replicas = (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"])
    if service.name == "data-service":
        assert (deployment["replicas"], replicas, deployment["strategy"]) == (1, (1, 1), {"type": "Recreate"})
    else:
        assert "replicas" not in deployment, "an apply would undo what the scaler did"
        assert 2 <= replicas[0] < replicas[1]
    assert container_of(manifest("Deployment", service.name))["resources"]["requests"]["cpu"], "utilisation is of this"


@each_workload
def test_a_pod_can_do_no_more_than_it_needs(workload: dict[str, Any]) -> None:
    pod, container = workload["spec"]["template"]["spec"], container_of(workload)
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 10001, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_data_service_has_the_memory_and_the_disk_for_the_largest_import_there_may_be() -> None:
    deployment = manifest("Deployment", "data-service")
    limits = container_of(deployment)["resources"]["limits"]
    assert rows_within(_bytes(limits["memory"])) >= MOST_ROWS
    (tmp,) = (one["emptyDir"] for one in deployment["spec"]["template"]["spec"]["volumes"] if one["name"] == "tmp")
    assert _bytes(tmp["sizeLimit"]) >= 2 * MOST_BYTES


def _bytes(quantity: str) -> int:
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


@each_workload
def test_no_variable_comes_from_the_cluster_itself(workload: dict[str, Any]) -> None:
    """With service links a Service called `gateway` becomes GATEWAY_PORT=tcp://…, which is no port."""
    assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


@each_service
def test_a_pod_is_killed_only_after_it_may_have_drained(service: Service) -> None:
    literals = next(one["literals"] for one in kustomization()["configMapGenerator"] if one["name"] == service.name)
    delay = dict(one.split("=", 1) for one in literals)[f"{service.prefix}_DRAIN_DELAY_S"]
    pod = manifest("Deployment", service.name)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > DRAIN_S + int(delay)


@each_workload
def test_what_is_mounted_is_a_volume_that_exists(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod.get("volumes", ())}
    assert {one["name"] for one in container_of(workload).get("volumeMounts", ())} == set(volumes)
    for claim in (one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one):
        assert manifest("PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_live_bars_are_kept_on_the_claim_and_the_group_may_write_there() -> None:
    deployment = manifest("Deployment", "data-service")
    mounts = {one["name"]: one["mountPath"] for one in container_of(deployment)["volumeMounts"]}
    literals = next(one["literals"] for one in kustomization()["configMapGenerator"] if one["name"] == "data-service")
    assert f"DATA_STATE_DIR={mounts['state']}" in literals
    assert deployment["spec"]["template"]["spec"]["securityContext"]["fsGroup"] == 10001


@pytest.mark.parametrize("service", OWNERS, ids=lambda service: service.name)
def test_a_migration_is_its_services_own_and_has_the_database_alone(service: Service) -> None:
    job = manifest("Job", f"migrate-{service.schema}")
    container = container_of(job)
    assert (container["image"], container["command"]) == (f"kalpi/{service.name}", ["kalpi", "migrate"])
    assert {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]} == {
        "DATABASE_URL": {"name": "kalpi", "key": f"{service.prefix}_DATABASE_URL"},
        "DATABASE_OWNER_URL": {"name": "kalpi", "key": f"{service.prefix}_DATABASE_OWNER_URL"},
        "DATABASE_ADMIN_URL": {"name": "kalpi", "key": "DATABASE_ADMIN_URL", "optional": True},
    }
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["metadata"]["labels"]["app.kubernetes.io/name"] == "migrate", "docs/operations.md applies it by this label"


@each_service
def test_the_images_are_those_that_compose_builds(service: Service) -> None:
    assert container_of(manifest("Deployment", service.name))["image"] == f"kalpi/{service.name}"
    version = tomllib.loads((ROOT / service.name / "pyproject.toml").read_text())["project"]["version"]
    assert TAGS[f"kalpi/{service.name}"] == version


def test_kustomize_renders_what_these_tests_have_read() -> None:
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("kubectl is not on this machine's PATH; the files' structure is tested all the same")
    done = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rendered = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"]["namespace"] for one in rendered} == {"kalpi"}
    shown = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in rendered if one["kind"] != "ConfigMap"}
    generated = {
        one["metadata"]["name"].rpartition("-")[0]: one["metadata"]["name"] for one in rendered if one["kind"] == "ConfigMap"
    }
    assert set(generated) == set(NAMES)
    assert set(shown) == {(one["kind"], one["metadata"]["name"]) for one in manifests()}
    for one in manifests():
        assert ordered(shown[one["kind"], one["metadata"]["name"]]) == ordered(finished(one, generated))


def finished(read: dict[str, Any], generated: dict[str, str]) -> dict[str, Any]:
    """The spec, with what Kustomize writes into it: the common label, the image's tag, the generated ConfigMap's name."""
    spec: dict[str, Any] = copy.deepcopy(read["spec"])
    if "template" in spec:
        spec["template"]["metadata"]["labels"] |= kustomization()["labels"][0]["pairs"]
        (container,) = spec["template"]["spec"]["containers"]
        container["image"] += f":{TAGS[container['image']]}"
        for source in container.get("envFrom", ()):
            source["configMapRef"]["name"] = generated[source["configMapRef"]["name"]]
    return spec


def ordered(value: Any) -> Any:
    """The order of a list of named things means nothing here."""
    if isinstance(value, dict):
        return {key: ordered(one) for key, one in value.items()}
    if isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value):
        return sorted((ordered(one) for one in value), key=lambda one: str(one["name"]))
    return value
