"""What the figures were taken on."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.gateway.envoy import ENVOY
from benchmarks.gateway.nginx import NGINX

__all__ = ["facts"]

_LIBRARIES = ("uvicorn", "uvloop", "httptools", "aiohttp", "redis", "hiredis", "fastapi", "httpx")


def facts() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        **{name: _installed(name) for name in _LIBRARIES},
        "nginx": _says([NGINX, "-v"]) if NGINX else "not here",
        "wrk": _says([shutil.which("wrk") or "", "-v"]) if shutil.which("wrk") else "not here",
        "Envoy": _says([ENVOY, "--version"]) if ENVOY.exists() else "not here",
        "revision": _revision(),
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except FileNotFoundError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _installed(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "not here"


def _says(command: list[str | Path]) -> str:
    """The first version number that it prints, to whichever stream and with whichever exit code."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "?"


def _revision() -> str:
    git = shutil.which("git")
    if git is None:
        return "?"
    command = [git, "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)  # noqa: S603 - as above
    return done.stdout.strip() or "?"
