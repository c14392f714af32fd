"""An app with its lifespan running, and clients for it in the same process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Scope


@asynccontextmanager
async def running(
    app: FastAPI, auth: httpx.Auth | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    async with LifespanManager(app, startup_timeout=20, shutdown_timeout=20):
        # not the manager's app: that gives all requests one state, and who is asking is in it
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", auth=auth, headers=headers) as client:
            yield client


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes


def scope_of(method: str, path: str, query: str, headers: Mapping[str, str]) -> Scope:
    """Of one request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("service", 80),
    }


async def ask(
    app: ASGIApp, method: str, path: str, query: str = "", *, headers: Mapping[str, str], content: bytes = b""
) -> Answer:
    """One request, without a client in between: for tests that send thousands. The app is running."""
    status, named, parts = 0, dict[str, str](), list[bytes]()
    sent = [content]

    async def receive() -> Message:
        if not sent:
            await asyncio.Event().wait()  # this client stays
        return {"type": "http.request", "body": sent.pop(), "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, named
        if message["type"] == "http.response.start":
            status, named = message["status"], {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            parts.append(message.get("body", b""))

    await app(scope_of(method, path, query, headers), receive, send)
    return Answer(status, named, b"".join(parts))
