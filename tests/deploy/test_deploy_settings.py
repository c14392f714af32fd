"""What the operators' files give a service is what its Settings read: no more, no less, and no secret written down."""

import importlib
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import pytest

from shared.principal import KeyRing
from shared.settings import decode_key
from tests.deploy.files import (
    BY_NAME,
    SERVERS,
    SERVICES,
    WAYS,
    Service,
    compose,
    container_of,
    environment,
    given_as,
    image_environment,
    manifest,
    secret_variables,
    settings_class,
    settings_of,
    variables,
)

OWNERS = [service for service in SERVICES if service.schema is not None]
INTERPRETER = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
each_way = pytest.mark.parametrize("way", WAYS)
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@each_way
@each_service
def test_every_variable_is_one_that_the_service_reads(way: str, service: Service, environ: Mapping[str, str]) -> None:
    assert set(environment(way, service, environ)) - INTERPRETER <= set(variables(service))


@each_way
@each_service
def test_the_service_has_all_it_needs_and_can_be_reached(way: str, service: Service, environ: Mapping[str, str]) -> None:
    settings = settings_of(service, environment(way, service, environ))
    assert settings.host == "0.0.0.0"  # noqa: S104 - the container's network is its boundary
    assert settings.port == settings_class(service).model_fields["port"].default == service.port


def test_the_keys_are_fit_for_what_they_sign(environ: Mapping[str, str]) -> None:
    assert KeyRing.parse(environ["KALPI_PRINCIPAL_KEYS"]).newest
    assert len(decode_key(environ["AUTH_SIGNING_KEY"])) == 32
    assert len(decode_key(environ["AUTH_REFRESH_KEY"])) == 32
    assert len(decode_key(environ["AUTH_AUDIT_KEY"])) == 32


@each_way
@each_service
def test_the_addresses_of_other_services_are_theirs(way: str, service: Service, environ: Mapping[str, str]) -> None:
    given = environment(way, service, environ)
    for variable, name in variables(service).items():
        if not name.endswith("_urls"):
            continue
        for url in given[variable].split(","):
            other = BY_NAME[urlsplit(url).hostname or ""]
            assert (urlsplit(url).port, f"{other.prefix}_URLS".lower()) == (other.port, name)


@pytest.mark.parametrize("variable", SERVERS)
def test_the_urls_of_the_servers_hold_the_passwords_those_were_given(variable: str, environ: Mapping[str, str]) -> None:
    server = SERVERS[variable]
    url = urlsplit(environ["DATABASE_ADMIN_URL" if server == "postgres" else variable])
    assert url.hostname == server
    assert url.password == environ[f"{server.upper()}_PASSWORD"]
    if server == "postgres":
        given = compose()["services"]["postgres"]["environment"]
        assert (url.username, url.path) == (given["POSTGRES_USER"], f"/{given['POSTGRES_DB']}")


@pytest.mark.parametrize("service", OWNERS, ids=lambda service: service.name)
def test_a_service_that_owns_tables_has_roles_of_its_own_on_the_same_database(
    service: Service, environ: Mapping[str, str]
) -> None:
    app, owner = (urlsplit(environ[given_as(service, name)]) for name in ("DATABASE_URL", "DATABASE_OWNER_URL"))
    assert (app.username, owner.username) == (f"{service.schema}_app", f"{service.schema}_owner")
    admin = urlsplit(environ["DATABASE_ADMIN_URL"])
    assert {(url.hostname, url.port, url.path) for url in (app, owner)} == {(admin.hostname, admin.port, admin.path)}


@each_service
def test_no_secret_is_written_down_or_has_a_default(service: Service) -> None:
    secret = secret_variables(service)
    assert secret >= {"KALPI_PRINCIPAL_KEYS", "NATS_URL"}
    assert not secret & set(image_environment(service))
    written = compose()["services"][service.name]["environment"]
    assert {name for name, value in written.items() if value.startswith("${" + given_as(service, name) + ":?")} == secret
    from_the_secret = {one["name"]: one["valueFrom"] for one in container_of(manifest("Deployment", service.name))["env"]}
    assert from_the_secret == {name: {"secretKeyRef": {"name": "kalpi", "key": given_as(service, name)}} for name in secret}


@each_service
async def test_the_probed_paths_are_the_services_own_and_need_no_principal(service: Service, environ: Mapping[str, str]) -> None:
    """Before its start an app lives and is not ready."""
    create_app = importlib.import_module(f"{service.module}.app").create_app
    app = create_app(settings_of(service, environment("kubernetes", service, environ)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        container = container_of(manifest("Deployment", service.name))
        paths = {probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
        assert (await client.get(paths["livenessProbe"])).status_code == 200
        assert (await client.get(paths["readinessProbe"])).status_code == 503
