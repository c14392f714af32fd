"""The whole product as a user starts it: `make run`, on free ports, with its state in a folder of its own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kalpi_local.files import read_json
from kalpi_local.processes import Identity

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "auth-service", "data-service", "indicator-service", "ratelimit-service")
MAKE_RUN = ("make", "--no-print-directory", "run")
KALPI_UP = (str(ROOT / ".venv/bin/kalpi"), "up")
"""What `make run` runs. make itself, interrupted, ends by that signal whatever its command's exit code was."""
UNTRACED = {"COVERAGE_PROCESS_CONFIG": ""}
"""For processes that answer ten thousand requests: no coverage of them, which would take as long as the answers do."""
_READY_S = 90.0
_STOP_S = 40.0


@dataclass(frozen=True)
class Stack:
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def home(self) -> Path:
        return self.folder / ".kalpi"

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return state

    @property
    def owner(self) -> Identity | None:
        """The running `kalpi up`; None when there is none, whatever an earlier one has left in state.json."""
        state = read_json(self.home / "state.json")
        owner = Identity(state["pid"], str(state["started"])) if state else None
        return owner if owner is not None and owner.alive() else None

    @property
    def demo(self) -> dict[str, str]:
        """.kalpi/demo.env"""
        lines = (self.home / "demo.env").read_text().splitlines()
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name: value.strip("'\"") for name, _, value in pairs}

    @property
    def url(self) -> str:
        return self.demo["KALPI_URL"]

    def key(self, tier: str) -> dict[str, str]:
        return {"X-API-Key": self.demo[f"KALPI_{tier.upper()}_KEY"]}

    def kalpi(self, *arguments: str, extra: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs the command as a user would, beside the running stack."""
        return subprocess.run(
            [ROOT / ".venv/bin/kalpi", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_environment(self.home, extra or {}),
        )

    def output(self) -> str:
        return (self.folder / "up.log").read_text()


def _environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL", "NATS_URL", "NO_COLOR"}}
    return {**own, "KALPI_HOME": str(home), **extra}


def start(folder: Path, extra: Mapping[str, str], command: Sequence[str] = MAKE_RUN) -> Stack:
    """The stack may not be ready yet."""
    free_ports = {f"KALPI_{name}_PORT": "0" for name in ("GATEWAY", "AUTH", "DATA", "INDICATOR", "RATELIMIT", "GATEWAY_METRICS")}
    with (folder / "up.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(folder / ".kalpi", {**free_ports, **extra}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Stack(folder, process)


def wait_ready(stack: Stack) -> None:
    deadline = time.monotonic() + _READY_S
    while not _ready(stack):
        assert stack.process.poll() is None, f"it ended:\n{stack.output()[-4000:]}"
        assert time.monotonic() < deadline, f"not ready:\n{stack.output()[-4000:]}"
        time.sleep(0.05)


def _ready(stack: Stack) -> bool:
    # an earlier run's demo.env has a URL where another may listen by now
    if stack.owner is None or stack.state["phase"] != "ready":
        return False
    try:
        return httpx.get(f"{stack.url}/health/ready", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def interrupt(stack: Stack) -> int:
    """Ctrl-C, as a terminal sends it: to the whole process group. Returns the exit code."""
    os.killpg(stack.process.pid, signal.SIGINT)
    return stack.process.wait(_STOP_S)


def descendants(of: Identity) -> set[Identity]:
    """Every process below this one. Where there is no /proc, none."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    below, found = {of.pid}, set[int]()
    while below:
        below = {pid for pid, parent in parents.items() if parent in below}
        found |= below
    return {identity for pid in found if (identity := Identity.of(pid)) is not None}


@contextmanager
def running_stack(folder: Path, extra: Mapping[str, str] | None = None, command: Sequence[str] = MAKE_RUN) -> Iterator[Stack]:
    stack = start(folder, extra or {}, command)
    try:
        wait_ready(stack)
        yield stack
    finally:
        if stack.process.poll() is None:
            interrupt(stack)
