"""The life of an API key through the gateway: what it opens, from where, and that its end counts at once."""

from typing import Any

import httpx

from tests.e2e.conftest import Account
from tests.support.poll import until
from tests.support.stack import Stack

KEYS = "/api/v1/auth/api-keys"


async def make(client: httpx.AsyncClient, account: Account, **body: Any) -> dict[str, Any]:
    answer = await client.post(KEYS, json=body, headers=account.token)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def status(client: httpx.AsyncClient, key: dict[str, Any], path: str = "/api/v1/symbols") -> int:
    return (await client.get(path, headers={"X-API-Key": key["api_key"]})).status_code


async def test_a_key_opens_what_its_scopes_name(client: httpx.AsyncClient, free_account: Account) -> None:
    key = await make(client, free_account, scopes=["bars:read"])
    headers = {"X-API-Key": key["api_key"]}
    assert [await status(client, key), await status(client, key, "/api/v1/usage")] == [200, 200]
    for method, path, scope in (
        ("GET", "/api/v1/indicators/sma?symbol=AAPL", "indicators:read"),
        ("POST", "/api/v1/indicators/batch", "batch"),
        ("POST", "/api/v1/screener", "screener"),
        ("POST", KEYS, "keys:manage"),
        ("PATCH", "/api/v1/auth/me", "keys:manage"),
        ("GET", "/api/v1/admin/users", "admin"),
        ("POST", "/api/v1/data/import", "admin"),
    ):
        answer = await client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["required_scope"]) == (403, scope), path


async def test_a_rotated_key_stops_working_and_the_new_one_works(client: httpx.AsyncClient, free_account: Account) -> None:
    old = await make(client, free_account, name="robot", scopes=["bars:read"])
    assert await status(client, old) == 200
    answer = await client.post(f"{KEYS}/{old['id']}/rotate", headers=free_account.token)
    assert answer.status_code == 201, answer.text
    assert await status(client, answer.json()) == 200

    async def refused() -> bool:
        return await status(client, old) == 401

    await until(refused, seconds=9)  # before it would be asked for anew
    patient = await client.post(f"{KEYS}/{answer.json()['id']}/rotate", json={"grace_minutes": 60}, headers=free_account.token)
    assert [await status(client, key) for key in (answer.json(), patient.json())] == [200, 200], "within the grace"


async def test_a_key_works_from_its_addresses_alone(client: httpx.AsyncClient, free_account: Account) -> None:
    here = await make(client, free_account, allowed_ips=["127.0.0.0/8", "::1"])
    elsewhere = await make(client, free_account, allowed_ips=["192.0.2.0/24"])
    assert [await status(client, here), await status(client, elsewhere)] == [200, 403]


async def test_the_administrators_demo_key_administers_and_a_premium_users_does_not(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    answers = [await client.get("/api/v1/admin/users", headers=stack.key(user)) for user in ("admin", "premium")]
    assert [answer.status_code for answer in answers] == [200, 403]
