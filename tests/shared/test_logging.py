"""A process's log: lines of JSON, whoever writes them."""

import json
import subprocess
import sys

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
