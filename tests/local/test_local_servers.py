"""The embedded servers: real, private, restartable, and never in another process's way."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats
import pytest
import redis.asyncio as redis

from kalpi_local.errors import LocalError
from kalpi_local.net import answers
from kalpi_local.processes import Launch, run
from kalpi_local.secrets import Secrets
from kalpi_local.servers import Postgres, Servers, Valkey, embedded_servers
from tests.support.poll import until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One Postgres folder for the tests here that leave it as they found it: initdb takes a second."""
    with tempfile.TemporaryDirectory(prefix="kalpi-") as name:
        yield Path(name) / "postgres"


@pytest.fixture
async def postgres(folder: Path) -> AsyncIterator[Postgres]:
    server = Postgres(folder, "secret", durable=False)
    yield server
    await server.stop()


async def write(servers: Servers) -> None:
    database = await asyncpg.connect(servers.database_url)
    await database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await database.close()
    store = redis.Redis.from_url(servers.redis_url)
    await store.set("kept", "42")
    await store.aclose()
    bus = await nats.connect(servers.nats_url)
    await bus.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await bus.jetstream().publish("kept", b"42")
    await bus.close()


async def read(servers: Servers) -> list[object]:
    database = await asyncpg.connect(servers.database_url)
    row = await database.fetchval("SELECT answer FROM kept")
    await database.close()
    store = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    value = await store.get("kept")
    await store.aclose()
    bus = await nats.connect(servers.nats_url)
    message = await bus.jetstream().get_msg("KEPT", 1)
    await bus.close()
    return [row, value, message.data]


def everything_shown_by_ps() -> str:
    shown = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            shown.append(process.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(shown)


async def test_a_restart_keeps_data_ports_and_passwords_and_shows_none_to_ps(tmp_path: Path) -> None:
    async with embedded_servers(tmp_path / "state", durable=True) as first:
        await write(first)
        shown = everything_shown_by_ps()
        assert str(tmp_path) in shown
        secrets = Secrets(tmp_path / "state" / "secrets.json")
        for name in ("postgres", "valkey", "nats"):
            assert secrets.password(name) not in shown
    async with embedded_servers(tmp_path / "state", durable=True) as second:
        assert second == first
        assert await read(second) == [42, "42", b"42"]
    for folder in ("", "postgres", "postgres/data", "valkey", "nats", "logs"):
        assert (tmp_path / "state" / folder).stat().st_mode & 0o777 == 0o700
    for file in ("secrets.json", "valkey/valkey.conf", "nats/nats.conf", "logs/postgres.log"):
        assert (tmp_path / "state" / file).stat().st_mode & 0o777 == 0o600


async def test_passwords_are_needed(servers: Servers) -> None:
    """On the servers that the whole run uses."""
    address = urlsplit(servers.database_url)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://kalpi:wrong@127.0.0.1:{address.port}/kalpi")
    assert await answers(urlsplit(servers.redis_url).port or 0, b"PING\r\n", b"-NOAUTH ")
    assert await answers(urlsplit(servers.nats_url).port or 0, b"CONNECT {}\r\nPING\r\n", b"-ERR 'Authorization Violation'")


async def test_a_remembered_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (tmp_path / "valkey").mkdir()
        (tmp_path / "valkey" / "port").write_text(str(taken))
        server = Valkey(tmp_path / "valkey", "secret")
        await server.start()
        assert server.port != taken
        await server.stop()


async def test_a_killed_postgres_starts_again_with_all_that_was_committed(folder: Path) -> None:
    server = Postgres(folder, "secret", durable=True)
    await server.start()
    connection = await asyncpg.connect(server.url)
    await connection.execute("DROP TABLE IF EXISTS kept")
    await connection.execute("CREATE TABLE kept AS SELECT 1")
    assert server._child is not None
    os.kill(server._child.identity.pid, signal.SIGKILL)
    await server._child.wait()
    connection.terminate()
    await server.start()
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 1
    await connection.close()
    await server.stop()


async def test_a_pid_file_that_names_another_process_is_stale_and_that_process_lives_on(postgres: Postgres) -> None:
    bystander = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    await postgres.start()
    await postgres.stop()
    (postgres.folder / "data" / "postmaster.pid").write_text(f"{bystander.pid}\n{postgres.folder}/data\n0\n")
    await postgres.start()
    await postgres.stop()
    assert bystander.returncode is None
    await bystander.communicate(b"\n")
    assert bystander.returncode == 0


async def test_a_postgres_left_running_by_a_crashed_run_is_ended(postgres: Postgres) -> None:
    """Two postmasters on one data folder would be its end."""
    await postgres.start()
    left = postgres._child
    assert left is not None
    again = Postgres(postgres.folder, "secret", durable=False)
    await again.start()
    assert await left.wait() == 0
    await again.stop()


async def test_data_made_under_another_password_is_a_clear_message(postgres: Postgres) -> None:
    await postgres.start()
    await postgres.stop()
    other = Postgres(postgres.folder, "another", durable=False)
    with pytest.raises(LocalError, match=r"another password than secrets\.json"):
        await other.start()
    await other.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_without_user_namespaces_root_runs_postgres_as_an_unprivileged_user() -> None:
    """The data moves with it and stays there; what an interrupted initialisation left is in nobody's way."""
    with tempfile.TemporaryDirectory(prefix="kalpi-") as name:
        home, aside = Path(name) / "home", Path(name) / "aside"
        make_room(Path(name))
        for way in ("namespace", "user", None):
            server = Postgres(home / "postgres", "secret", durable=False, way=way, fallback=aside)
            await server.start()
            assert server._child is not None
            assert (owner_of(server._child.identity.pid) != 0) == (way != "namespace")
            assert (home / "postgres" / "data").exists() == (way == "namespace")
            await server.stop()


def make_room(folder: Path) -> None:
    folder.chmod(0o711)
    half = folder / "home" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("half")


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def test_a_server_ends_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from kalpi_local.servers import Valkey\n"
        "server = Valkey(pathlib.Path(sys.argv[1]), 'secret')\n"
        "asyncio.run(server.start())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    folder = tmp_path / "valkey"
    await run(Launch([sys.executable, "-c", script, str(folder)], dict(os.environ)))
    port = int((folder / "port").read_text())

    async def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    await until(refused, what="nobody listens")
