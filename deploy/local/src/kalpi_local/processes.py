"""Child processes that end with their parent, and that a later run can recognise without ever mistaking another for one."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from kalpi_local import tether
from kalpi_local.files import private_folder

__all__ = ["Child", "Finished", "Identity", "Launch", "end", "run"]

LOG_BYTES = 10 * 1024 * 1024
_TETHER = (sys.executable, "-I", "-S", tether.__file__)


@dataclass(frozen=True)
class Identity:
    """A process, beyond its number: numbers are used again, a number with its start time is not."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """None when no such process runs (a zombie does not run)."""
        started = _started(pid)
        return cls(pid, started) if started is not None else None

    def alive(self) -> bool:
        return _started(self.pid) == self.started


def _started(pid: int) -> str | None:
    if sys.platform != "linux":
        shown = subprocess.run(  # noqa: S603 - a fixed command and a number
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return shown.stdout.strip() or None
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


@dataclass(frozen=True)
class Launch:
    """What to run. `identity` is as in `kalpi_local.tether`; `stop` ends it, and is what it gets when its parent dies.

    `sockets` are handed to the child under their own numbers, and closed here once they have been.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    stop: signal.Signals = signal.SIGTERM
    sockets: Sequence[socket.socket] = ()
    identity: str = "same"
    cwd: Path | None = None


class Child:
    """One running process, in a session of its own, so that a terminal's Ctrl-C reaches its parent only."""

    def __init__(self, process: asyncio.subprocess.Process, identity: Identity, stop: signal.Signals) -> None:
        self._process = process
        self._stop = stop
        self.identity = identity

    @classmethod
    async def spawn(cls, launch: Launch, log: Path) -> Self:
        """`log` takes stdout and stderr; it is rotated here when it has grown beyond 10 MB, and one older is kept."""
        with contextlib.ExitStack() as held:
            output = held.enter_context(_opened(log))
            for handed in launch.sockets:
                held.enter_context(handed)
            process = await asyncio.create_subprocess_exec(
                *_tethered(launch),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(launch.env),
                pass_fds=[handed.fileno() for handed in launch.sockets],
                cwd=launch.cwd,
                start_new_session=True,
            )
        identity = Identity.of(process.pid) or Identity(process.pid, "ended")
        return cls(process, identity, launch.stop)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """Its stop signal, then SIGKILL once the grace is over."""
        for number in (self._stop, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
                return


def _opened(log: Path) -> BinaryIO:
    private_folder(log.parent)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".1.log"))
    log.touch(mode=0o600)
    return log.open("ab")


def _tethered(launch: Launch) -> list[str]:
    return [*_TETHER, str(os.getpid()), str(int(launch.stop)), launch.identity, *launch.argv]


@dataclass(frozen=True)
class Finished:
    code: int
    output: str
    errors: str


async def run(launch: Launch, stdin: bytes = b"") -> Finished:
    """Runs to the end; killed when we are cancelled meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *_tethered(launch),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(launch.env),
        cwd=launch.cwd,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(await process.wait(), output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))


async def end(process: Identity, stop: signal.Signals, grace_s: float) -> bool:
    """Ends a process that is nobody's child any more; True when it was there. One that is not the recorded one is left alone."""
    if not process.alive():
        return False
    for number in (stop, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            if not process.alive():
                return True
            await asyncio.sleep(0.02)
    return True
