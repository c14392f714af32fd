"""`kalpi keys …`: the keys that sign access tokens."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from auth_service.adapters.postgres import PostgresDatabase
from auth_service.domain.rotating import Rotation
from shared.clock import system_clock
from shared.errors import KalpiError
from shared.ids import new_id
from shared.postgres import open_engine

__all__ = ["app"]

T = TypeVar("T")
_COMMAND_S = 5.0
_FAILED = 1

app = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")
DatabaseUrl = Annotated[str, typer.Option(envvar="DATABASE_URL", help="auth-service's database")]


@app.command()
def rotate(
    database_url: DatabaseUrl,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="every other key, and each token it signed, ends now")] = False,
) -> None:
    """Adds a key: it is published now and signs in a minute. Tokens of the one before stay valid until they expire."""
    with _plainly():
        added = asyncio.run(_with(database_url, lambda rotation: rotation.rotate(revoke=revoke)))
    sys.stdout.write(f"{added.id} signs from {_text(added.signs_from)}\n")
    if revoke:
        sys.stdout.write("every other key has ended; services and gateways know within 45 s\n")


@app.command("list")
def list_(database_url: DatabaseUrl) -> None:
    """Which keys there are, and which one signs."""
    with _plainly():
        ring = asyncio.run(_with(database_url, Rotation.ring))
    now = system_clock()
    for key in ring.keys:
        until = f", verifies until {_text(key.verify_until)}" if key.verify_until else ""
        sys.stdout.write(f"{key.id}  {ring.state(key, now):8}  signs from {_text(key.signs_from)}{until}\n")


async def _with(database_url: str, work: Callable[[Rotation], Awaitable[T]]) -> T:
    engine = open_engine(database_url, service="kalpi-keys", pool_size=1, command_timeout_s=_COMMAND_S)
    async with PostgresDatabase(engine, asyncio.Event()) as database:
        return await work(Rotation(database, clock=system_clock, new_id=new_id))


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except KalpiError as error:
        sys.stderr.write(f"{error.detail}\n")
        raise typer.Exit(_FAILED) from None


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
