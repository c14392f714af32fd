"""Load over a number of kept connections for some seconds: by wrk, or by our own client where wrk is missing."""

import itertools
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import request_of, send_all

__all__ = ["Asked", "Failed", "Measured", "client_name", "measure"]

WRK = shutil.which("wrk")
Asked = Sequence[tuple[str, Mapping[str, str]]]
"""Target and headers of each request; they are sent in turn, and over again."""

_SCRIPT = """
local asked = {%s}
local requests, turn = {}, 0
init = function(args)
  for number, one in ipairs(asked) do
    requests[number] = wrk.format("GET", one[1], one[2])
  end
end
request = function()
  turn = turn %% #requests + 1
  return requests[turn]
end
done = function(summary, latency, _)
  local errors = summary.errors
  io.write("\\n", table.concat({
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout}, " "), "\\n")
end
"""
_FAULTS = ("connect", "read", "write", "status", "timeout")


class Failed(Exception):
    """Some requests were not answered with a 200: there is no figure."""


@dataclass(frozen=True)
class Measured:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def client_name() -> str:
    return "wrk, one thread" if WRK else "benchmarks/load.py, for wrk is not here"


def measure(base: str, asked: Asked, *, connections: int, seconds: float, folder: Path) -> Measured:
    """Failed when anything but 200s came. `folder` takes wrk's script, which holds the keys."""
    if WRK is None:
        return _by_our_own(base, asked, connections, seconds)
    script = folder / "wrk.lua"
    script.touch(mode=0o600)
    script.write_text(_SCRIPT % ",\n".join(map(_lua, asked)))
    command = [WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script), base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    if done.returncode:
        raise Failed(done.stderr[-300:] or done.stdout[-300:])
    requests, microseconds, p50, p99, *faults = map(float, done.stdout.strip().splitlines()[-1].split())
    if any(faults):
        raise Failed(f"of {requests:,.0f} requests: {dict(zip(_FAULTS, faults, strict=True))}")
    return Measured(round(requests), microseconds / 1e6, p50 / 1e3, p99 / 1e3)


def _lua(one: tuple[str, Mapping[str, str]]) -> str:
    target, headers = one
    fields = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    return f"{{{json.dumps(target)}, {{{fields}}}}}"


def _by_our_own(base: str, asked: Asked, connections: int, seconds: float) -> Measured:
    requests = [request_of(base + target, headers) for target, headers in asked]
    try:
        load = send_all(base, _within(seconds, requests), connections)
    except (RuntimeError, OSError) as error:
        raise Failed(str(error)[:300]) from error
    ninety_ninth = statistics.quantiles(load.taken, n=100)[98]
    return Measured(len(load.taken), load.seconds, statistics.median(load.taken) * 1e3, ninety_ninth * 1e3)


def _within(seconds: float, requests: Sequence[bytes]) -> Iterator[bytes]:
    ends = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < ends, itertools.cycle(requests))
