"""A client of the stack that all share, and accounts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from shared.ids import new_id
from tests.support.stack import Stack


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
