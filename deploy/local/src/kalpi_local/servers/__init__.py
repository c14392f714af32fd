"""Real Postgres, Valkey and NATS from wheels, on free ports of 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kalpi_local.secrets import Secrets
from kalpi_local.servers.base import Server
from kalpi_local.servers.nats import Nats
from kalpi_local.servers.postgres import Postgres
from kalpi_local.servers.valkey import Valkey

__all__ = ["Nats", "Postgres", "Server", "Servers", "Valkey", "embedded_servers"]


@dataclass(frozen=True)
class Servers:
    """Where the three are reached; each URL holds a password."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    nats_url: str = field(repr=False)


@asynccontextmanager
async def embedded_servers(state_dir: Path, *, durable: bool = True) -> AsyncIterator[Servers]:
    """The three, started together in `state_dir` and stopped at the end; data, ports and passwords are there the next time.

    Without `durable` nothing is forced to disk, which is for tests.
    """
    secrets = Secrets(state_dir / "secrets.json")
    postgres = Postgres(state_dir / "postgres", secrets.password("postgres"), durable=durable)
    valkey = Valkey(state_dir / "valkey", secrets.password("valkey"), durable=durable)
    nats = Nats(state_dir / "nats", secrets.password("nats"), durable=durable)
    three: tuple[Server, ...] = (postgres, valkey, nats)
    try:
        outcomes = await asyncio.gather(*(server.start() for server in three), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        yield Servers(postgres.url, valkey.url, nats.url)
    finally:
        await asyncio.gather(*(server.stop() for server in three))
