"""What others write in Python: a proxy of FastAPI and httpx; and the least that an ASGI application can do."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

__all__ = ["fixed", "proxy"]

_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


def proxy() -> FastAPI:
    """Everything to the origin that BENCH_ORIGIN names: what comes first to mind, one client and one route."""
    client = httpx.AsyncClient(base_url=os.environ["BENCH_ORIGIN"], trust_env=False)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/{path:path}")
    async def forward(path: str, request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP]
        answer = await client.get(f"/{path}", params=request.query_params, headers=headers)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return Response(answer.content, answer.status_code, kept)

    return app


class fixed:  # noqa: N801 - uvicorn's factory
    """The body in the file that BENCH_BODY names, for whatever is asked."""

    def __init__(self) -> None:
        self._body = Path(os.environ["BENCH_BODY"]).read_bytes()
        self._headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self._body))]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})
