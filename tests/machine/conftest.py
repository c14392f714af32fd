"""A machine for the tests that want several gateways, or end the whole product."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.stack import MAKE_RUN, UNTRACED, Stack, interrupt, start, wait_ready

PLANS = """
anonymous_ip: {quota: 1000}
tiers:
  free: &many
    limits: {day: 10000}
    entitlements: {indicators: all, batch_series: 5}
  pro: *many
  premium:
    limits: {day: 50000}
    entitlements: {indicators: all, batch_series: 5}
  enterprise:
    limits: {day: 500}
    entitlements: {indicators: all, batch_series: 5}
"""
"""Of the machine; there are no bursts."""


class Machine:
    """Where a test may kill the product and start it again: with three gateways, and `PLANS`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack: Stack | None = None

    def up(self, command: Sequence[str] = MAKE_RUN) -> Stack:
        """The running stack; where none runs, the one that `command` starts."""
        if self._stack is None or self._stack.owner is None:
            plans = self._folder / "plans.yaml"
            plans.write_text(PLANS)
            told = {"RATELIMIT_PLANS_PATH": str(plans), "KALPI_GATEWAY_WORKERS": "3", **UNTRACED}
            self._stack = start(self._folder, told, command)
            wait_ready(self._stack)
        return self._stack

    def down(self) -> None:
        if self._stack is not None and self._stack.process.poll() is None:
            interrupt(self._stack)


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="kalpi-e2e-") as name:
        machine = Machine(Path(name))
        try:
            yield machine
        finally:
            machine.down()
