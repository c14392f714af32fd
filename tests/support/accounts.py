"""Accounts of a running stack, made as a user makes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from shared.ids import new_id
from tests.support.poll import until

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Account:
    name: str
    email: str
    password: str
    token: dict[str, str]
    key: dict[str, str]
    key_id: str
    refresh_token: str


async def log_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> tuple[str, str]:
    """An access token and a refresh token."""
    login = await _patiently(lambda: client.post("/api/v1/auth/login", data={"username": name, "password": password}))
    assert login.status_code == 200, login.text
    return login.json()["access_token"], login.json()["refresh_token"]


async def register(client: httpx.AsyncClient) -> Account:
    """Register, log in, create an API key."""

    async def ask() -> httpx.Response:
        # by another name each time: who was told that it takes too long may have been registered all the same
        name = f"user-{new_id().hex}"
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        return await client.post("/api/v1/auth/register", json=body)

    registered = await _patiently(ask)
    assert registered.status_code == 201, registered.text
    name, email = registered.json()["username"], registered.json()["email"]
    assert registered.json()["tier"] == "free"
    access_token, refresh_token = await log_in(client, name)
    token = {"Authorization": f"Bearer {access_token}"}
    made = await client.post("/api/v1/auth/api-keys", json={"name": "test"}, headers=token)
    assert made.status_code == 201, made.text
    return Account(name, email, PASSWORD, token, {"X-API-Key": made.json()["api_key"]}, made.json()["id"], refresh_token)


async def _patiently(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """As a client that comes again: where others leave passwords too little of the processor, they are not hashed."""

    async def attempt() -> httpx.Response | None:
        answer = await ask()
        return None if answer.status_code == 503 else answer

    answer = await until(attempt, every_s=0.5, what="a password that is hashed")
    assert answer is not None
    return answer
