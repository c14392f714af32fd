"""Clients at many addresses, so that what an address may ask without credentials does not keep a test waiting."""

import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from tests.support.poll import until

__all__ = ["Crowd", "crowd_at"]

# on Linux every address of 127.0.0.0/8 is this machine's
_ADDRESSES = [f"127.0.0.{number}" for number in range(1, 17 if sys.platform == "linux" else 2)]


class Crowd:
    def __init__(self, clients: Iterator[httpx.AsyncClient]) -> None:
        self._clients = clients

    def __next__(self) -> httpx.AsyncClient:
        """Whose turn it is."""
        return next(self._clients)

    async def request(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Sent again while it is too early (429), and a GET also while a service is too busy (503)."""
        again = {429, 503} if method == "GET" else {429}

        async def attempt() -> httpx.Response | None:
            answer = await next(self).request(method, path, **request)
            return None if answer.status_code in again else answer

        answer = await until(attempt, every_s=0.1, seconds=60, what=f"an answer to {method} {path}")
        assert answer is not None
        return answer


@asynccontextmanager
async def crowd_at(url: str) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as opened:
        clients = []
        for address in _ADDRESSES:
            transport = httpx.AsyncHTTPTransport(local_address=address)
            client = httpx.AsyncClient(base_url=url, timeout=10, trust_env=False, transport=transport)
            clients.append(await opened.enter_async_context(client))
        yield Crowd(itertools.cycle(clients))
