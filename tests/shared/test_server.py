"""What the HTTP server refuses before any application sees it, and how a service process starts and stops."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from shared import server as server_module
from shared.settings import EX_CONFIG
from tests.support.http_server import serving
from tests.support.poll import until
from tests.support.principals import PRINCIPAL_KEYS


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    async with serving(app) as url:
        parts = httpx.URL(url)
        assert parts.port is not None
        yield parts.host, parts.port


async def exchange(address: tuple[str, int], sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(65536), 10)
    writer.close()
    return answer


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\n" + b"Host: localhost\n\n", 400),
        (b"NONSENSE\r\n\r\n", 400),
    ],
    ids=["plain", "no-host", "two-hosts", "many-headers", "long-header", "long-url", "cl-te", "cl-cl", "bare-lf", "nonsense"],
)
async def test_only_well_formed_requests_pass(address: tuple[str, int], request_bytes: bytes, status: int) -> None:
    assert (await exchange(address, request_bytes)).startswith(b"HTTP/1.1 %d" % status)


async def test_half_a_header_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEADER_DEADLINE_S", 0.1)
    async with serving(app) as url:
        port = httpx.URL(url).port
        assert port is not None
        assert (await exchange(("127.0.0.1", port), b"GET / HTTP/1.1\r\nHo")).startswith(b"HTTP/1.1 408")


async def test_a_kept_alive_connection_serves_many_requests(address: tuple[str, int]) -> None:
    request = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(3):
        writer.write(request)
        assert b"hello" in await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    writer.close()


SCRIPT = """
import asyncio, sys
from contextlib import asynccontextmanager
from fastapi import APIRouter
from shared.server import serve
from shared.service import Shell, service_app
from shared.settings import Port, ServiceSettings, load_settings, service_config

class Settings(ServiceSettings):
    model_config = service_config("EXAMPLE_")
    port: Port = 0
    secret: str

router = APIRouter()

@asynccontextmanager
async def lifespan(app):
    yield

serve("example", load_settings(Settings), lambda s: service_app(
    Shell.of("example", s), lifespan=lifespan, routers=[router], checks={}))
"""


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EXAMPLE_", "KALPI_"))}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        env={**clean, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_process_without_its_settings_names_each_and_ends() -> None:
    process = await start({"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "EXAMPLE_PORT": "70000"})
    _, errors = await process.communicate()
    assert process.returncode == EX_CONFIG
    lines = errors.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["EXAMPLE_PORT", "EXAMPLE_SECRET"]


async def test_a_process_answers_until_it_is_told_to_stop_and_ends_with_0() -> None:
    process = await start({"KALPI_PRINCIPAL_KEYS": PRINCIPAL_KEYS, "EXAMPLE_SECRET": "s", "EXAMPLE_LOG_LEVEL": "info"})
    assert process.stdout is not None
    log = b""

    async def listening() -> bool:
        nonlocal log
        assert process.stdout is not None
        log += await process.stdout.readline()
        return b"Uvicorn running on" in log

    await until(listening)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
