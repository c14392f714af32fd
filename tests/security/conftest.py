"""The stack that all share, a client of it, an account for each test, and what a forger would want most: the key that signs."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from auth_service.adapters.tokens import seed_of
from kalpi_local.database import embedded_urls
from kalpi_local.secrets import Secrets
from shared.settings import decode_key
from tests.security.forging import Forge
from tests.support.accounts import Account, register
from tests.support.stack import Stack


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture
async def account(client: httpx.AsyncClient) -> Account:
    return await register(client)


@pytest.fixture
def database_url(stack: Stack) -> str:
    return auth_database_url(stack)


@pytest.fixture
async def forge(stack: Stack, account: Account, database_url: str) -> Forge:
    """With the very key that signed the account's token."""
    return Forge.of(account.token["Authorization"].removeprefix("Bearer "), await signing_seeds(stack, database_url))


def auth_database_url(stack: Stack) -> str:
    """auth-service's own."""
    return embedded_urls(stack.state["urls"]["postgres"], "auth", Secrets(stack.home / "secrets.json")).app


async def signing_seeds(stack: Stack, database_url: str) -> list[bytes]:
    """Of every key that a token may have been signed with."""
    connection = await asyncpg.connect(database_url)
    names = [row["id"] for row in await connection.fetch("SELECT id FROM auth.signing_key")]
    await connection.close()
    master = decode_key(Secrets(stack.home / "secrets.json").signing_key)
    return [seed_of(master, name) for name in names]
