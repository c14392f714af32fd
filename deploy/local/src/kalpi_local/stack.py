"""The whole embedded stack: servers, migrations, services, demo users; up in parallel, down in reverse order."""

import asyncio
import contextlib
import os
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kalpi_local.database import migrate_all, migrations
from kalpi_local.demo import read_demo, seed, write_demo
from kalpi_local.files import private_folder
from kalpi_local.follow import Follower
from kalpi_local.home import Home
from kalpi_local.net import Reservation
from kalpi_local.processes import Identity
from kalpi_local.screen import Screen
from kalpi_local.secrets import Secrets
from kalpi_local.servers import Nats, Postgres, Server, Valkey
from kalpi_local.services import AUTH, GATEWAY, METRICS_PORT, SERVICES, ServiceProgram, gateway_workers, reserve, wanted_port
from kalpi_local.supervisor import Kept, Supervisor
from kalpi_local.wiring import Wiring

__all__ = ["up"]

_FORWARD_S = 0.25
_SERVERS: Mapping[str, type[Server]] = {"DATABASE_URL": Postgres, "REDIS_URL": Valkey, "NATS_URL": Nats}


async def up(home: Home, environ: Mapping[str, str], screen: Screen, *, free_ports: bool) -> None:
    """Runs the stack until it is cancelled. LocalError when it cannot start; whatever was started is stopped either way."""
    with home.owned(), _ports(environ, free=free_ports) as ports:
        for name in await home.recover():
            screen.step(name, "left by a crashed run: stopped", colour="yellow")
        stack = _Stack(home, environ, screen, ports)
        try:
            await stack.start()
            await stack.forward()
        finally:
            await stack.stop()


@dataclass(frozen=True)
class _Ports:
    """The services' ports, held; and one for the metrics of each gateway, which opens it itself."""

    services: Mapping[str, Reservation]
    metrics: Sequence[int]


@contextlib.contextmanager
def _ports(environ: Mapping[str, str], *, free: bool) -> Iterator[_Ports]:
    with contextlib.ExitStack() as held:

        def hold(variable: str, port: int) -> Reservation:
            reservation = reserve(variable, port)
            held.callback(reservation.close)
            return reservation

        services = {}
        for service in SERVICES:
            variable = f"KALPI_{service.prefix}_PORT"
            services[service.name] = hold(variable, wanted_port(variable, service.port, environ, free=free))
        variable = "KALPI_GATEWAY_METRICS_PORT"
        first = wanted_port(variable, METRICS_PORT, environ, free=free)
        probes = [reserve(variable, first and first + number) for number in range(gateway_workers(environ))]
        for probe in probes:
            probe.close()
        yield _Ports(services, [probe.port for probe in probes])


class _Stack:
    def __init__(self, home: Home, environ: Mapping[str, str], screen: Screen, ports: _Ports) -> None:
        self._home = home
        self._environ = environ
        self._screen = screen
        self._secrets = secrets = Secrets(home.secrets)
        self._servers: dict[str, Server] = {
            variable: kind(home.folder / kind.name, secrets.password(kind.name), logs=home.logs)
            for variable, kind in _SERVERS.items()
            if not environ.get(variable)
        }
        self._wiring = wiring = Wiring(
            environ=environ,
            secrets=secrets,
            folder=home.folder,
            servers=self._servers,
            service_url=lambda name: self._services[name].url,
            metrics_ports=ports.metrics,
        )
        processes = [
            ServiceProgram(service, ports.services[service.name], partial(wiring.env, service, number), home.logs, number=number)
            for service in SERVICES
            for number in range(1, (len(ports.metrics) if service is GATEWAY else 1) + 1)
        ]
        self._services = {process.name: process for process in processes}
        self._supervisor = Supervisor([*self._servers.values(), *processes], self._changed)
        self._since: dict[str, float] = {}
        self._phase = "starting"
        self._started_at = time.monotonic()
        self._followers = {name: Follower(service.log) for name, service in self._services.items()}

    async def start(self) -> None:
        private_folder(self._home.folder / "data")
        self._screen.say(f"starting Kalpi in {self._home.folder}")
        self._write_state()
        await _together(*(self._supervisor.start(server.name) for server in self._servers.values()))
        others = (self._supervisor.start(name) for name in self._services if name != AUTH.name)
        keys, *_ = await _together(self._prepare_users(), *others)
        url = self._services[GATEWAY.name].url
        write_demo(self._home.demo, url, keys)
        self._phase = "ready"
        self._write_state()
        self._summary(url, keys["demo-pro"])

    async def stop(self) -> None:
        self._phase = "stopping"
        self._screen.say("stopping")
        await self._supervisor.stop()
        for service in self._services.values():
            service.close()
        self._home.forget_state()

    async def forward(self) -> None:
        """Shows what matters of the services' logs, for ever."""
        while True:
            for name, follower in self._followers.items():
                self._screen.log(name, follower.lines(), requests=self._services[name].service is GATEWAY)
            await asyncio.sleep(_FORWARD_S)

    async def _prepare_users(self) -> dict[str, str]:
        """auth-service on a migrated database, and the demo users' keys."""
        began = time.monotonic()
        await migrate_all(self._wiring.database, self._environ)
        self._screen.step("migrations", f"done in {time.monotonic() - began:.1f} s: {', '.join(e.name for e in migrations())}")
        # the seeding needs the tables, not the process
        keys: dict[str, str] = (await _together(self._seed(), self._supervisor.start(AUTH.name)))[0]
        return keys

    async def _seed(self) -> dict[str, str]:
        return await seed(self._wiring.env(AUTH), read_demo(self._home.demo), self._secrets)

    def _changed(self, kept: Kept) -> None:
        name, port = kept.program.name, self._port(kept)
        if kept.state == "starting":
            self._since[name] = time.time()
        if kept.state == "ready" and kept.restarts == 0:
            self._screen.step(name, f"ready after {time.monotonic() - self._started_at:.1f} s on port {port}")
        elif kept.state == "ready":
            self._screen.step(name, f"ready again (restart {kept.restarts})")
        elif kept.state == "restarting" and kept.child is not None:
            self._screen.step(name, f"ended ({kept.child.returncode}): restarting", colour="yellow")
        self._write_state()

    def _port(self, kept: Kept) -> int:
        program = kept.program
        return program.port if isinstance(program, Server | ServiceProgram) else 0

    def _write_state(self) -> None:
        me = Identity.of(os.getpid())
        kept = self._supervisor.kept
        urls = {kind.name: self._wiring.url(variable) for variable, kind in _SERVERS.items()}
        self._home.write_state(
            {
                "pid": os.getpid(),
                "started": me.started if me else None,
                "phase": self._phase,
                "urls": urls | {service.name: self._services[service.name].url for service in SERVICES},
                "servers": {server.name: self._entry(kept[server.name]) for server in self._servers.values()},
                "services": {name: self._entry(kept[name]) for name in self._services},
            }
        )

    def _entry(self, kept: Kept) -> dict[str, Any]:
        lives = kept.child is not None and kept.child.returncode is None
        identity = kept.child.identity if kept.child is not None and lives else None
        return {
            "state": kept.state,
            "pid": identity.pid if identity else None,
            "started": identity.started if identity else None,
            "port": self._port(kept),
            "restarts": kept.restarts,
            "since": self._since.get(kept.program.name) if identity else None,
            "log": str(kept.program.log),
        }

    def _summary(self, url: str, key: str) -> None:
        self._screen.say("")
        rows = [{"service": name, "url": program.url, "log": _near(program.log)} for name, program in self._services.items()]
        self._screen.table(rows[::-1])
        seconds = time.monotonic() - self._started_at
        self._screen.say(f"\nready after {seconds:.1f} s; a key of each tier is in {_near(self._home.demo)}; Ctrl-C stops")
        self._screen.say(f"\ncurl -H \"X-API-Key: {key}\" '{url}/api/v1/indicators/rsi?symbol=AAPL&limit=3'\n")


def _near(path: Path) -> str:
    """Relative to here where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All results in order; at the first failure the others are cancelled and it is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
