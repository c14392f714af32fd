"""What each process is told of the others and of the secrets: the variables of docs/services.md."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kalpi_local.database import embedded_urls
from kalpi_local.secrets import Secrets
from kalpi_local.servers import Server
from kalpi_local.services import AUTH, DATA, GATEWAY, INDICATOR, RATELIMIT, SERVICES, Service, environment
from shared.roles import DatabaseUrls

__all__ = ["Wiring"]


class Wiring:
    """`servers` are ours, by the variable that names them; one that the operator set in `environ` is not among them.

    `service_url` gives a service's base URL by its name.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        secrets: Secrets,
        folder: Path,
        servers: Mapping[str, Server],
        service_url: Callable[[str], str],
        metrics_ports: Sequence[int],
    ) -> None:
        self._environ = environ
        self._secrets = secrets
        self._folder = folder
        self._servers = servers
        self._service_url = service_url
        self._metrics_ports = metrics_ports

    def env(self, service: Service, number: int = 1) -> dict[str, str]:
        """The whole environment of a service's process, the `number`th."""
        environ = environment(service, {**self._common(), **self._own(service)}, self._environ)
        if service is GATEWAY:
            environ["GATEWAY_METRICS_PORT"] = str(self._metrics_ports[number - 1])
        return environ

    def url(self, variable: str) -> str:
        """Of a server: ours, or the operator's."""
        ours = self._servers.get(variable)
        return ours.url if ours else self._environ[variable]

    def database(self, schema: str) -> DatabaseUrls:
        """Of the roles of a schema: in our Postgres its own, in the operator's those that the operator names."""
        ours = self._servers.get("DATABASE_URL")
        return embedded_urls(ours.url, schema, self._secrets) if ours else DatabaseUrls.of(self._environ)

    def _common(self) -> dict[str, str]:
        keys = self._environ.get("KALPI_PRINCIPAL_KEYS") or self._secrets.principal_keys
        return {"KALPI_PRINCIPAL_KEYS": keys, "NATS_URL": self.url("NATS_URL"), "REDIS_URL": self.url("REDIS_URL")}

    def _own(self, service: Service) -> dict[str, str]:
        tables = {"DATABASE_URL": self.database(service.schema).app} if service.schema is not None else {}
        return {**self._told(service), **tables}

    def _told(self, service: Service) -> dict[str, str]:
        if service is DATA:
            return {"DATA_STATE_DIR": str(self._folder / "data")}
        if service is INDICATOR:
            return {"INDICATOR_DATA_URLS": self._service_url(DATA.name)}
        if service is GATEWAY:
            others = [other for other in SERVICES if other is not GATEWAY]
            return {f"GATEWAY_{other.prefix}_URLS": self._service_url(other.name) for other in others}
        if service is AUTH:
            return {
                "AUTH_SIGNING_KEY": self._secrets.signing_key,
                "AUTH_REFRESH_KEY": self._secrets.refresh_key,
                "AUTH_AUDIT_KEY": self._secrets.audit_key,
                "AUTH_AUDIT_HEADS_PATH": str(self._folder / "audit_heads.jsonl"),
                "AUTH_MAIL_URL": (self._folder / "mail").absolute().as_uri(),
                **self._replica(),
            }
        return self._replica() if service is RATELIMIT else {}

    def _replica(self) -> dict[str, str]:
        """The operator's; our own Postgres has none."""
        url = self._environ.get("DATABASE_REPLICA_URL") if "DATABASE_URL" not in self._servers else None
        return {"DATABASE_REPLICA_URL": url} if url else {}
