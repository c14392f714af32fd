"""A process's log: lines of JSON, whoever writes them."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging
from shared.context import REQUEST_ID
from shared.logging import configure_logging, get_logger

configure_logging("example-service", "info")
REQUEST_ID.set("mine-1")
get_logger("ours").info("heard", size=3)
get_logger("ours").debug("too quiet")
logging.getLogger("theirs").warning("heard %s", "too")
logging.getLogger("theirs").debug("too quiet")
try:
    1 / 0
except ZeroDivisionError:
    get_logger("ours").exception("failed", path="/x")
    logging.getLogger("theirs").exception("failed")
"""


REQUESTS = """
import asyncio, sys
from shared.context import REQUEST_ID
from shared.logging import configure_logging, log_request

class Counting:
    def write(self, data):
        sys.stdout.buffer.write(data)
        sys.stderr.write("written\\n")
    def flush(self):
        sys.stdout.buffer.flush()

async def main():
    REQUEST_ID.set("mine-1")
    for status in (200, 503):
        log_request("GET", "/a", status, 0.0123456)
    log_request("GET", "/health", 200, 0.001, quiet=True)
    await asyncio.sleep(0)
    log_request("POST", "/b", 201, 1.0)
    await asyncio.sleep(0)

log_request("GET", "/before", 200, 0.1)
configure_logging("example-service", "LEVEL")
import shared.logging
shared.logging._request_lines._stream = Counting()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("level", "paths"), [("info", ["/a", "/a", "/b"]), ("debug", ["/a", "/a", "/health", "/b"]), ("error", [])]
)
def test_the_lines_of_requests_say_the_same_and_those_of_one_turn_are_one_write(level: str, paths: list[str]) -> None:
    script = REQUESTS.replace("LEVEL", level)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in map(json.loads, run.stdout.splitlines()) if line["logger"] == "request"]
    assert [line["path"] for line in lines] == paths
    assert run.stderr.count("written") == (2 if paths else 0)
    for line in lines:
        assert (line["event"], line["logger"], line["service"]) == ("request", "request", "example-service")
        assert line["level"] == ("debug" if line["path"] == "/health" else "info")
        assert line["timestamp"].endswith("Z")
        assert line["request_id"] == "mine-1"
    if lines:
        first = lines[0]
        assert (first["method"], first["status"], first["ms"]) == ("GET", 200, 12.35)


def test_our_lines_and_those_of_libraries_say_the_same_of_themselves() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    ours, theirs, ours_failed, theirs_failed = lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert (ours["event"], ours["size"], ours["logger"], ours["level"]) == ("heard", 3, "ours", "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("heard too", "theirs", "warning")
    for line in lines:
        assert (line["service"], line["request_id"]) == ("example-service", "mine-1")
        assert line["timestamp"].endswith("Z")
    for failed in (ours_failed, theirs_failed):
        assert failed["level"] == "error"
        assert "ZeroDivisionError" in failed["exception"]
