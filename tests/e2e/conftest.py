"""A client of the stack that all share, accounts, and a machine for the tests that want a stack otherwise, or end it."""

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.ids import new_id
from tests.support.stack import MAKE_RUN, Stack, interrupt, start, wait_ready

PLANS = """
anonymous_ip: {quota: 1000}
tiers:
  free: &many
    limits: {day: 10000}
    entitlements: {indicators: all, batch_series: 5}
  pro: *many
  premium: *many
  enterprise:
    limits: {day: 400}
    entitlements: {indicators: all, batch_series: 5}
"""
"""Of the machine; there are no bursts."""


class Machine:
    """Where a test may kill the product and start it again: with two gateways, and `PLANS`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack: Stack | None = None

    def up(self, command: Sequence[str] = MAKE_RUN) -> Stack:
        """The running stack; where none runs, the one that `command` starts."""
        if self._stack is None or self._stack.owner is None:
            plans = self._folder / "plans.yaml"
            plans.write_text(PLANS)
            self._stack = start(self._folder, {"RATELIMIT_PLANS_PATH": str(plans), "KALPI_GATEWAY_WORKERS": "2"}, command)
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


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the gateway, without credentials of its own."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as client:
        yield client


@dataclass(frozen=True)
class Account:
    email: str
    password: str
    token: dict[str, str]
    key: dict[str, str]
    key_id: str


@pytest.fixture
async def free_account(client: httpx.AsyncClient) -> Account:
    """A user registered for this test alone: register, log in, create an API key."""
    name = f"user-{new_id().hex}"
    email, password = f"{name}@example.com", "correct horse battery"
    registered = await client.post("/api/v1/auth/register", json={"username": name, "email": email, "password": password})
    assert registered.status_code == 201, registered.text
    assert registered.json()["tier"] == "free"
    login = await client.post("/api/v1/auth/login", data={"username": name, "password": password})
    assert login.status_code == 200, login.text
    token = {"Authorization": f"Bearer {login.json()['access_token']}"}
    made = await client.post("/api/v1/auth/api-keys", json={"name": "test"}, headers=token)
    assert made.status_code == 201, made.text
    return Account(email, password, token, {"X-API-Key": made.json()["api_key"]}, made.json()["id"])
