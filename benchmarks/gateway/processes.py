"""Servers as processes of their own on free ports of 127.0.0.1, and what they take of the processor."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from kalpi_local.processes import Identity
from tests.support.stack import descendants

__all__ = ["NotToBeHad", "cpu_seconds", "running"]

_READY_S = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class NotToBeHad(Exception):
    """Why a contender is not here."""


@contextmanager
def running(command: Sequence[str | Path], url: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Its pid, once it answers at `url`; NotToBeHad with the end of its log when it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=output, stderr=output)  # noqa: S603 - ours
    try:
        deadline = time.monotonic() + _READY_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotToBeHad(f"it does not start: {log.read_text(errors='replace')[-400:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


def cpu_seconds(pid: int) -> float:
    """User and system time so far of the process and of those below it that run."""
    own = Identity.of(pid)
    pids = [pid, *(below.pid for below in descendants(own))] if own is not None else []
    return sum(_ticks(pid) for pid in pids) / _TICKS


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])
