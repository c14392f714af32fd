"""Accounts of a running stack, made as a user makes them."""

from dataclasses import dataclass

import httpx

from shared.ids import new_id

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
    login = await client.post("/api/v1/auth/login", data={"username": name, "password": password})
    assert login.status_code == 200, login.text
    return login.json()["access_token"], login.json()["refresh_token"]


async def register(client: httpx.AsyncClient) -> Account:
    """Register, log in, create an API key."""
    name = f"user-{new_id().hex}"
    email = f"{name}@example.com"
    registered = await client.post("/api/v1/auth/register", json={"username": name, "email": email, "password": PASSWORD})
    assert registered.status_code == 201, registered.text
    assert registered.json()["tier"] == "free"
    access_token, refresh_token = await log_in(client, name)
    token = {"Authorization": f"Bearer {access_token}"}
    made = await client.post("/api/v1/auth/api-keys", json={"name": "test"}, headers=token)
    assert made.status_code == 201, made.text
    return Account(name, email, PASSWORD, token, {"X-API-Key": made.json()["api_key"]}, made.json()["id"], refresh_token)
