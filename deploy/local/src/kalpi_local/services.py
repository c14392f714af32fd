"""The five services as programs: their ports, their sockets, and what each is told of the others (docs/services.md)."""

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kalpi_local.errors import LocalError
from kalpi_local.net import LOCALHOST, Reservation, answers
from kalpi_local.processes import Launch

__all__ = [
    "AUTH",
    "DATA",
    "GATEWAY",
    "INDICATOR",
    "METRICS_PORT",
    "RATELIMIT",
    "SERVICES",
    "Service",
    "ServiceProgram",
    "environment",
    "gateway_workers",
    "reserve",
    "wanted_port",
]

METRICS_PORT = 9080
_MOST_WORKERS = 64
_COMMON = (
    *(f"DATABASE_{role}URL" for role in ("", "OWNER_", "ADMIN_", "REPLICA_")),
    "REDIS_URL",
    "NATS_URL",
)
_READY = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Service:
    name: str
    module: str
    prefix: str
    port: int
    schema: str | None = None
    """Of the database, where it owns one."""


AUTH = Service("auth-service", "auth_service", "AUTH", 8081, schema="auth")
DATA = Service("data-service", "data_service", "DATA", 8082)
RATELIMIT = Service("ratelimit-service", "ratelimit_service", "RATELIMIT", 8084, schema="ratelimit")
INDICATOR = Service("indicator-service", "indicator_service", "INDICATOR", 8083, schema="indicator")
GATEWAY = Service("gateway", "gateway", "GATEWAY", 8080)
SERVICES = (AUTH, DATA, RATELIMIT, INDICATOR, GATEWAY)
"""Each after those it asks."""


def wanted_port(variable: str, default: int, environ: Mapping[str, str], *, free: bool) -> int:
    """0 is any free port."""
    if free:
        return 0
    text = environ.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise LocalError(f"{variable}={text} is not a port: 0 (any free one) to 65535")
    return int(text)


def gateway_workers(environ: Mapping[str, str]) -> int:
    """How many gateway processes share the one port."""
    text = environ.get("KALPI_GATEWAY_WORKERS", "").strip() or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_WORKERS):
        raise LocalError(f"KALPI_GATEWAY_WORKERS={text} is not a number from 1 to {_MOST_WORKERS}")
    return int(text)


def reserve(variable: str, port: int) -> Reservation:
    another = 9000 if port < 9000 else port + 10
    return Reservation(port, taken=f"port {port} is taken: choose another, as in {variable}={another} make run")


def environment(service: Service, given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Ours for one service: the operator's environment without what is meant for another one, and what it is given.

    A variable of its own that the operator has set wins over what it is given.
    """
    foreign = tuple(f"{other.prefix}_" for other in SERVICES if other is not service)
    kept = {name: value for name, value in environ.items() if not name.startswith((*foreign, "KALPI_")) and name not in _COMMON}
    own = {name: value for name, value in kept.items() if name.startswith(f"{service.prefix}_")}
    where = {f"{service.prefix}_{part}" for part in ("HOST", "PORT", "FD")}
    return {name: value for name, value in {**kept, **given, **own}.items() if name not in where}


class ServiceProgram:
    """One process of a service, `python -m <module>`, on a socket of its own; `env` is asked at each start.

    Several may share a port: the kernel spreads connections over those that listen.
    """

    def __init__(
        self, service: Service, reservation: Reservation, env: Callable[[], Mapping[str, str]], logs: Path, *, number: int = 1
    ) -> None:
        self.name = service.name if number == 1 else f"{service.name}-{number}"
        self.log = logs / f"{self.name}.log"
        self.port = reservation.port
        self.service = service
        self._reservation = reservation
        self._env = env
        self._watched: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    async def launch(self) -> Launch:
        listener = self._reservation.fresh()
        self._watch(listener.dup())
        prefix = self.service.prefix
        place = {f"{prefix}_HOST": LOCALHOST, f"{prefix}_PORT": str(self.port), f"{prefix}_FD": str(listener.fileno())}
        return Launch([sys.executable, "-P", "-m", self.service.module], {**self._env(), **place}, sockets=[listener])

    async def ready(self) -> bool:
        """This process listens, which a service does once its start is complete, and the port says that it is ready."""
        if self._watched is not None and not self._watched.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        answered = await answers(self.port, _READY, b"HTTP/1.1 200 ")
        if answered:
            self._watch(None)  # ours would keep the port listening beyond the process's life
        return answered

    def close(self) -> None:
        self._watch(None)

    def _watch(self, listener: socket.socket | None) -> None:
        if self._watched is not None:
            self._watched.close()
        self._watched = listener
