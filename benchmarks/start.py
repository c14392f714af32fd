"""From `kalpi up`, with the environment set up, to the first indicator answered. Run by `make bench-start`."""

import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from tests.support.stack import running_stack


def seconds_to_first_answer(folder: Path) -> float:
    """From `make run`, everything set up, to one indicator in hand."""
    began = time.perf_counter()
    with running_stack(folder) as stack:
        url = f"{stack.url}/api/v1/indicators/rsi?symbol=AAPL"
        httpx.get(url, headers=stack.key("premium"), trust_env=False).raise_for_status()
        return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalpi-bench-") as name:
        first, second = seconds_to_first_answer(Path(name)), seconds_to_first_answer(Path(name))
    table = Table("start", "seconds to the first answer", title="make run, environment set up")
    table.add_row("with no state", f"{first:.1f}")
    table.add_row("with the state of the one before", f"{second:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
