"""`kalpi up` and its companions: the real servers and supervisor, with stand-ins for the five services."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kalpi_local.commands import app
from kalpi_local.demo import read_demo
from kalpi_local.files import read_json
from kalpi_local.home import Home
from kalpi_local.processes import Child, Identity, Launch
from kalpi_local.secrets import DEMO_USERS, Secrets
from kalpi_local.servers import Servers
from tests.support.poll import until

HERE = Path(__file__).parent
KALPI = (sys.executable, "-c", "from kalpi_local.commands import app; app()")
SERVICES = ("gateway", "indicator-service", "ratelimit-service", "data-service", "auth-service")


def environment(**more: str) -> dict[str, str]:
    ours = ("DATABASE_URL", "REDIS_URL", "NATS_URL", "KALPI_", *(f"{name.partition('-')[0].upper()}_" for name in SERVICES))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": f"{HERE / 'standins'}:{HERE.parents[1]}", "COLUMNS": "200", **more}


def kalpi(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KALPI, *arguments, "--home", str(home)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def up(home: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*KALPI, "up", "--free-ports", "--home", str(home)],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


async def started(home: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    """The state once everything is up."""

    async def look() -> dict[str, Any] | None:
        assert process.poll() is None, process.stdout and process.stdout.read()
        state = read_json(home / "state.json")
        return state if state.get("phase") == "ready" and state["pid"] == process.pid else None

    state = await until(look, seconds=60, what="kalpi up")
    assert state is not None
    return state


def everything(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**state["servers"], **state["services"]}


def told(state: dict[str, Any], service: str) -> dict[str, str]:
    """The environment that a stand-in was given, which is what it answers with."""
    with urllib.request.urlopen(state["urls"][service], timeout=5) as answer:  # noqa: S310 - its own URL on 127.0.0.1
        environ: dict[str, str] = json.load(answer)
    return environ


@dataclass(frozen=True)
class Running:
    home: Path
    process: subprocess.Popen[str]
    state: dict[str, Any]
    before: dict[str, Any]
    keys_before: dict[str, str]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Shared: a later start on the same state is part of what is tested."""
    with tempfile.TemporaryDirectory(prefix="kalpi-") as name:
        yield Path(name) / "home"


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Running]:
    """One stack for the tests that only look, or kill what comes back: itself started after one that was killed."""
    with up(home) as process:
        before = asyncio.run(started(home, process))
        keys = read_demo(home / "demo.env")
        process.kill()
        process.wait()
        asyncio.run(until(partial(all_gone, before), what="the children of a killed `kalpi up`"))
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "DATA_BARS_PATH": "/bars", "KALPI_GATEWAY_WORKERS": "2"}
    with up(home, **more) as process:
        yield Running(home, process, asyncio.run(started(home, process)), before, keys)


async def all_gone(state: dict[str, Any]) -> bool:
    return not any(Identity(entry["pid"], entry["started"]).alive() for entry in everything(state).values())


def test_a_start_after_kill_9_keeps_keys_and_server_ports(running: Running) -> None:
    assert set(running.keys_before) == set(DEMO_USERS)
    assert read_demo(running.home / "demo.env") == running.keys_before
    ports = [{name: entry["port"] for name, entry in state["servers"].items()} for state in (running.before, running.state)]
    assert set(ports[0]) == {"postgres", "valkey", "nats"}
    assert ports[0] == ports[1]


def test_a_second_up_in_the_same_folder_is_refused(running: Running) -> None:
    refused = CliRunner().invoke(app, ["up", "--home", str(running.home)])
    assert refused.exit_code == 1
    assert f"in use by a running `kalpi up` (pid {running.process.pid})" in refused.stderr


def test_status_shows_nine_ready_processes(running: Running) -> None:
    table = CliRunner().invoke(app, ["status", "--home", str(running.home)])
    assert table.exit_code == 0
    assert [line.split()[1] for line in table.stdout.splitlines()[1:]] == ["ready"] * 9


def test_status_where_nothing_runs_is_exit_code_1(tmp_path: Path) -> None:
    nothing = CliRunner().invoke(app, ["status", "--home", str(tmp_path)])
    assert nothing.exit_code == 1
    assert nothing.stderr == "not running\n"


def test_logs_shows_the_last_lines_and_names_what_there_is(running: Running) -> None:
    log = CliRunner().invoke(app, ["logs", "gateway", "-n", "1", "--home", str(running.home)])
    assert json.loads(log.stdout)["event"] == "GATEWAY stand-in serves"
    unknown = CliRunner().invoke(app, ["logs", "nonsense", "--home", str(running.home)])
    assert unknown.exit_code == 1
    assert "no log of nonsense; there are: auth-service" in unknown.stderr


def test_migrate_finds_the_database_of_the_running_stack(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    migrated = CliRunner().invoke(app, ["migrate", "--home", str(running.home)])
    assert migrated.stdout == "auth: migrated\nindicator: migrated\nratelimit: migrated\n"


def test_each_service_is_told_what_it_needs_and_no_secret_of_another(running: Running) -> None:
    environs = {service: told(running.state, service) for service in SERVICES}
    secrets = Secrets(running.home / "secrets.json")
    urls = running.state["urls"]
    assert environs["gateway"]["GATEWAY_AUTH_URLS"] == urls["auth-service"]
    assert environs["gateway"]["GATEWAY_INDICATOR_URLS"] == urls["indicator-service"]
    assert environs["indicator-service"]["INDICATOR_DATA_URLS"] == urls["data-service"]
    assert environs["data-service"]["DATA_STATE_DIR"] == str(running.home / "data")
    assert environs["data-service"]["DATA_BARS_PATH"] == "/bars"
    assert environs["auth-service"]["DATABASE_URL"].startswith("postgresql://auth_app:")
    assert environs["indicator-service"]["DATABASE_URL"].startswith("postgresql://indicator_app:")
    assert {environ["KALPI_PRINCIPAL_KEYS"] for environ in environs.values()} == {secrets.principal_keys}
    assert {environ["OTEL_EXPORTER_OTLP_ENDPOINT"] for environ in environs.values()} == {"http://127.0.0.1:1"}
    assert {environ["REDIS_URL"] for environ in environs.values()} == {urls["valkey"]}
    assert {environ["NATS_URL"] for environ in environs.values()} == {urls["nats"]}
    owners = {service for service, environ in environs.items() if "DATABASE_URL" in environ}
    assert owners == {"auth-service", "indicator-service", "ratelimit-service"}
    for service, environ in environs.items():
        text = json.dumps(environ)
        assert secrets.password("postgres") not in text
        for role in ("auth_owner", "indicator_owner", "ratelimit_owner"):
            assert secrets.password(role) not in text
        for schema in ("auth", "indicator", "ratelimit"):
            owner = f"{schema}-service"
            assert (secrets.password(f"{schema}_app") in text) == (service == owner)
        assert (secrets.signing_key in text) == (service == "auth-service")


@pytest.mark.parametrize("victim", ["gateway", "valkey"])
async def test_a_killed_process_is_back_on_its_port(running: Running, victim: str) -> None:
    def now() -> dict[str, Any]:
        return everything(read_json(running.home / "state.json"))[victim]

    before = now()
    os.kill(before["pid"], signal.SIGKILL)

    async def back() -> bool:
        return bool(now()["state"] == "ready" and now()["restarts"] == before["restarts"] + 1)

    await until(back)
    assert now()["port"] == before["port"]
    with socket.create_connection(("127.0.0.1", before["port"]), timeout=5):
        assert now()["pid"] != before["pid"]


async def test_the_operators_own_servers_are_used_as_they_are(
    tmp_path: Path, postgres_url: str, redis_url: str, nats_url: str
) -> None:
    home = tmp_path / "home"
    with up(home, DATABASE_URL=postgres_url, REDIS_URL=redis_url, NATS_URL=nats_url) as process:
        state = await started(home, process)
        assert set(everything(state)) == set(SERVICES)
        assert state["urls"]["nats"] == nats_url
        auth = told(state, "auth-service")
        assert [auth[name] for name in ("DATABASE_URL", "REDIS_URL", "NATS_URL")] == [postgres_url, redis_url, nats_url]
        keys, url = read_demo(home / "demo.env"), state["urls"]["gateway"]
        assert kalpi(home, "down").stdout == "stopped\n"
        output, _ = process.communicate(timeout=5)
    assert process.returncode == 0
    assert f"\ncurl -H \"X-API-Key: {keys['demo-pro']}\" '{url}/api/v1/indicators/rsi?symbol=AAPL&limit=3'\n" in output
    assert "\x1b" not in output
    assert CliRunner().invoke(app, ["status", "--home", str(home)]).exit_code == 1


async def test_ctrl_c_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    with up(tmp_path / "home") as process:

        async def servers_start() -> dict[str, Any]:
            state = read_json(tmp_path / "home" / "state.json")
            return state if state.get("servers", {}).get("valkey", {}).get("pid") else {}

        state = await until(servers_start)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in output
    begun = {name: entry for name, entry in everything(state).items() if entry["pid"]}
    assert await all_gone({"servers": begun, "services": {}})


def test_a_taken_port_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ports = {"KALPI_GATEWAY_PORT": port} | {f"KALPI_{name}_PORT": "0" for name in ("AUTH", "DATA", "INDICATOR", "RATELIMIT")}
        refused = CliRunner().invoke(app, ["up", "--home", str(tmp_path / "home")], env=ports)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert f"port {port} is taken: choose another, as in KALPI_GATEWAY_PORT=" in refused.stderr


def test_a_service_that_cannot_start_is_shown_with_the_end_of_its_log(tmp_path: Path, servers: Servers) -> None:
    home = tmp_path / "home"
    ours = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url, "NATS_URL": servers.nats_url}
    failed = kalpi(home, "up", "--free-ports", RATELIMIT_STANDIN_EXIT="yes", **ours)
    assert failed.returncode == 1
    assert "ratelimit-service ended with exit code 1; the end of " in failed.stderr
    assert "stand-in told to fail" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not Home(home).running()


async def test_what_a_crashed_run_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    """Where the kernel does not end children with their parent, their record does."""
    launch = Launch([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"], {})
    left, bystander = [await Child.spawn(launch, tmp_path / "log") for _ in range(2)]
    home = Home(tmp_path / "home")
    with home.owned():
        record = {"gateway": {"pid": left.identity.pid, "started": left.identity.started}}
        recycled = {"nats": {"pid": bystander.identity.pid, "started": "an earlier boot:17"}, "valkey": {"pid": None}}
        home.write_state({"servers": recycled, "services": record})
        assert await home.recover() == ["gateway"]
    assert await left.wait() == -signal.SIGTERM
    assert bystander.identity.alive()
    await bystander.stop(5)
