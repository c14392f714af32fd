"""`kalpi keys` beside the running product: nobody is logged out by a rotation, and by a revocation every token is."""

import asyncio

import httpx
import jwt

from tests.support.accounts import Account, log_in
from tests.support.poll import until
from tests.support.stack import Stack

ME = "/api/v1/auth/me"


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def status(client: httpx.AsyncClient, token: str) -> int:
    answer = await client.get(ME, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in {200, 401}, answer.text
    return answer.status_code


async def published(client: httpx.AsyncClient) -> set[str]:
    return {key["kid"] for key in (await client.get("/.well-known/jwks.json")).json()["keys"]}


async def test_a_rotation_loses_no_token_and_a_revocation_ends_all(
    client: httpx.AsyncClient, stack: Stack, account: Account, database_url: str
) -> None:
    async def rotate(*arguments: str) -> None:
        done = await asyncio.to_thread(stack.kalpi, "keys", "rotate", *arguments, extra={"DATABASE_URL": database_url})
        assert done.returncode == 0, done.stderr

    before = account.token["Authorization"].removeprefix("Bearer ")
    known = await published(client)
    await rotate()

    async def announced() -> bool:
        return await published(client) > known

    await until(announced, every_s=0.2, what="the new key published")
    after, _ = await log_in(client, account.name)
    assert (await status(client, before), await status(client, after)) == (200, 200)

    await rotate("--revoke")
    fresh = after

    async def revoked() -> bool:
        nonlocal fresh
        fresh, _ = await log_in(client, account.name)
        return (await status(client, fresh), await status(client, before), await status(client, after)) == (200, 401, 401)

    await until(revoked, every_s=0.5, seconds=45, what="the keys before refused")
    assert await published(client) == {kid(fresh)}
    session = await client.post("/api/v1/auth/refresh", json={"refresh_token": account.refresh_token})
    assert session.status_code == 200, "sessions go on"
    assert await status(client, session.json()["access_token"]) == 200
