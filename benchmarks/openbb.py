"""RSI of a client's own 750 candles: indicator-service beside OpenBB's platform API, one process each, taking turns.

OpenBB is installed for this into an environment of its own, which is thrown away; where it cannot be had, its row says so.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.load import requests_per_second
from benchmarks.signing import signed
from tests.indicator.samples import sample
from tests.support.stack import Stack, running_stack

BARS = 750
CONNECTIONS = 8
ROUNDS = 5
OURS, THEIRS = 2_000, 60
_PACKAGES = ("openbb-platform-api", "openbb-technical")
_READY_S = 180
_COLUMNS = ("open", "high", "low", "close", "volume")


def candles() -> list[dict[str, object]]:
    bars = sample("AAPL")
    columns = [bars.iso_dates[-BARS:], *(getattr(bars, name)[-BARS:].tolist() for name in _COLUMNS)]
    return [dict(zip(("date", *_COLUMNS), row, strict=True)) for row in zip(*columns, strict=True)]


class NotToBeHad(Exception):
    pass


@contextmanager
def openbb(folder: Path) -> Iterator[str]:
    """Its address, once it answers; NotToBeHad with the reason."""
    uv, python = Path(sys.executable).with_name("uv"), folder / "venv" / "bin" / "python"
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": ""}
    steps: list[list[str | Path]] = [
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"],
        [uv, "pip", "install", "--quiet", "--python", python, *_PACKAGES],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=900)  # noqa: S603 - the project's tool
        if done.returncode:
            raise NotToBeHad((done.stderr.strip().splitlines() or ["?"])[-1][:80])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command: list[str | Path] = [folder / "venv/bin/openbb-api", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "openbb.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - as above
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/openapi.json", process)
        yield f"{url}/api/v1/technical/rsi"
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - an address of this machine
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise NotToBeHad("it does not start")


def figures_of(stack: Stack, folder: Path) -> dict[str, float | str]:
    rows = candles()
    ours, theirs = orjson.dumps({"bars": rows}), orjson.dumps({"data": rows, "length": 14})
    columns = orjson.dumps({"bars": {name: [row[name] for row in rows] for name in rows[0]}})
    url = f"{stack.state['urls']['indicator-service']}/api/v1/indicators/rsi"
    figures: dict[str, list[float]] = {"OpenBB": [], "Kalpi, the same objects": [], "Kalpi, columns": []}
    try:
        with openbb(folder) as address:
            requests_per_second(address, {}, 2 * CONNECTIONS, CONNECTIONS, theirs)
            for _ in range(ROUNDS):
                figures["OpenBB"].append(requests_per_second(address, {}, THEIRS, CONNECTIONS, theirs))
                for name, body in (("Kalpi, the same objects", ours), ("Kalpi, columns", columns)):
                    figures[name].append(requests_per_second(url, signed(stack, "indicator-service"), OURS, CONNECTIONS, body))
    except NotToBeHad as reason:
        return {"OpenBB": f"not to be had: {reason}"}
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name, running_stack(Path(name)) as stack:
        figures = figures_of(stack, Path(name))
    table = Table("RSI of own candles", "requests/s", "× OpenBB", title=f"{BARS} bars, {CONNECTIONS} connections")
    for row, figure in figures.items():
        base = figures["OpenBB"]
        told = ("", "") if isinstance(base, str) or isinstance(figure, str) else (f"{figure:,.0f}", f"{figure / base:.1f}")
        table.add_row(row, *(told if told[0] else (str(figure), "")))
    console.print(table)


if __name__ == "__main__":
    main()
