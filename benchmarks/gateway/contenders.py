"""Everyone who is measured, started as they are in life and shown to answer before they are."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.gateway import nginx as nginx_server
from benchmarks.gateway.clients import Asked
from benchmarks.gateway.envoy import envoy
from benchmarks.gateway.ours import Ours
from benchmarks.gateway.processes import NotToBeHad, running
from kalpi_local.net import free_port
from tests.support.slow_origin import slow_origin

__all__ = [
    "ASGI",
    "BARE",
    "CACHED",
    "CACHED_HEADS",
    "CACHED_KEYS",
    "ENVOY",
    "ENVOY_REMEMBERS",
    "FASTAPI",
    "FORWARDED",
    "NOTES",
    "Contender",
    "contenders",
    "origin",
]

CACHED = "gateway, cached, enterprise key"
CACHED_HEADS = "gateway, cached, each head another"
CACHED_KEYS = "gateway, cached, 1,000 pro keys"
FORWARDED = "gateway, forwarded"
BARE = "nginx, bare"
DEFAULTS = "nginx, its defaults"
CACHING = "nginx, proxy_cache"
ENVOY = "Envoy"
ENVOY_REMEMBERS = "Envoy, tokens kept"
FASTAPI = "FastAPI + httpx"
ASGI = "raw ASGI, fixed body"
ORIGIN = "the origin itself"
NOTES = (
    "gateway: this one, a process with one worker, its keys, limits, metrics, log and events on",
    "each head another: the enterprise key, and a request id of its own for each request, so that none is known by its bytes",
    "forwarded: each request asks for something else, and the origin's answers may not be kept",
    "nginx, bare: proxy_pass with one worker, upstream keep-alive, no log; no auth, no limit",
    "nginx, proxy_cache: the ceiling; no auth, no limit",
    "Envoy: one worker, jwt_authn (EdDSA, local JWKS) and local_ratelimit; tokens kept: with jwt_cache_config, off by default",
    "CPU: of its own processes, for one request; behind: of all that work for it; client: of who asks; all share the cores",
    "behind those that forward works the origin, behind the gateway who takes its events: ratelimit-service, Postgres, NATS",
    "all answer the same 12 KB over connections that are kept; behind those that forward stands the same origin",
)
_NGINX = {BARE: nginx_server.BARE, DEFAULTS: nginx_server.DEFAULTS, CACHING: nginx_server.CACHING}
_KEYS_WARM_S = 3


@dataclass(frozen=True)
class Contender:
    """`missing` says why one is not here. `warm_s`: seconds of the same load before each measurement, which do not count."""

    name: str
    port: int = 0
    pid: int = 0
    asked: Asked = ()
    missing: str = ""
    warm_s: int = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def origin(body: bytes, folder: Path) -> Iterator[Contender]:
    """One for all."""
    (folder / "body").write_bytes(body)
    with slow_origin(folder / "body", folder / "origin.log") as started:
        yield Contender(ORIGIN, started.port, started.pid, [("/", {})])


@contextmanager
def contenders(ours: Ours, behind: Contender, folder: Path) -> Iterator[list[Contender]]:
    """All rows of the table. NotToBeHad of one is its row; RuntimeError when one does not answer as it should."""
    with ExitStack() as stack:
        everyone = [*_of_ours(ours), *_others(stack, behind, folder), behind]
        for one in everyone:
            if not one.missing:
                _check(one)
        yield everyone


def _of_ours(ours: Ours) -> list[Contender]:
    keys = [(ours.target, {"X-API-Key": key}) for key in ours.pro_keys]
    return [
        Contender(CACHED, ours.cached.port, ours.cached.pid, [(ours.target, ours.enterprise)]),
        Contender(CACHED_HEADS, ours.cached.port, ours.cached.pid, ours.named),
        Contender(CACHED_KEYS, ours.cached.port, ours.cached.pid, keys, warm_s=_KEYS_WARM_S),
        Contender(FORWARDED, ours.forwarding.port, ours.forwarding.pid, ours.forwarded),
    ]


def _others(stack: ExitStack, behind: Contender, folder: Path) -> Iterator[Contender]:
    plain: Asked = [("/", {})]
    for name, configuration in _NGINX.items():
        try:
            port, pid = stack.enter_context(nginx_server.nginx(configuration, behind.port, folder))
            yield Contender(name, port, pid, plain)
        except NotToBeHad as reason:
            yield Contender(name, missing=str(reason))
    for name, remembers in ((ENVOY, False), (ENVOY_REMEMBERS, True)):
        try:
            started = stack.enter_context(envoy(behind.port, folder, remembers=remembers))
            yield Contender(name, started.port, started.pid, [("/", started.headers)])
        except NotToBeHad as reason:
            yield Contender(name, missing=str(reason))
    told = {"BENCH_ORIGIN": behind.url, "BENCH_BODY": str(folder / "body")}
    for name, factory in ((FASTAPI, "proxy"), (ASGI, "fixed")):
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", f"benchmarks.gateway.python_servers:{factory}"]
        command += ["--port", str(port), "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
        pid = stack.enter_context(
            running(command, f"http://127.0.0.1:{port}/", folder / f"{factory}.log", {**os.environ, **told})
        )
        yield Contender(name, port, pid, plain)


def _check(one: Contender) -> None:
    target, headers = one.asked[0]
    answers = [httpx.get(one.url + target, headers=dict(headers), timeout=20, trust_env=False) for _ in range(2)]
    answer = answers[-1]
    if answer.status_code != 200 or not 11_000 < len(answer.content) < 14_000:
        raise RuntimeError(f"{one.name} answered {answer.status_code} with {len(answer.content)} bytes: {answer.text[:200]}")
    cached = answer.headers.get("x-cache")
    if (one.name in {CACHED, CACHED_HEADS, CACHED_KEYS}) != (cached == "HIT"):
        raise RuntimeError(f"{one.name} answered with X-Cache {cached}")
