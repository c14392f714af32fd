"""A client of the stack that all share, and accounts."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.accounts import Account, register
from tests.support.stack import Stack

__all__ = ["Account"]


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the gateway, without credentials of its own."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture
async def free_account(client: httpx.AsyncClient) -> Account:
    """A user registered for this test alone."""
    return await register(client)
