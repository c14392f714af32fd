"""`kalpi admin …`"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.adapters.audit import PostgresTrail
from auth_service.adapters.heads import Ed25519Heads, HeadVerifier, read_heads
from auth_service.adapters.recorded_states import snapshot
from auth_service.cli import api_keys, tenants, users
from auth_service.domain.chain import Head
from auth_service.domain.ports import AuditFilter
from auth_service.domain.rebuilding import NOUNS, Difference, differences
from auth_service.domain.trail import Trail
from auth_service.domain.verifying import ChainCheck, Fault
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.postgres import open_engine, statement
from shared.replica import Replicated
from shared.settings import decode_key

__all__ = ["app"]

T = TypeVar("T")
_SHOWN = 20
_CANNOT = 2
DatabaseUrl = Annotated[str, typer.Option("--database-url", envvar="DATABASE_URL", help="where the trail is")]

app = typer.Typer(no_args_is_help=True, help="What an operator sees and does.")
audit = typer.Typer(no_args_is_help=True, help="The audit trail.")
app.add_typer(audit, name="audit")
app.add_typer(users.app, name="users")
app.add_typer(tenants.app, name="tenants")
app.add_typer(api_keys.app, name="keys")


@app.callback()
def _admin() -> None:
    """What an operator sees and does."""


@audit.command()
def verify(
    database_url: DatabaseUrl,
    heads: Annotated[list[Path] | None, typer.Option(exists=True, dir_okay=False, help="exported heads; may be repeated")] = None,
    public_key: Annotated[list[str] | None, typer.Option(help="verifies heads, base64url; may be repeated")] = None,
    audit_key: Annotated[str, typer.Option(envvar="AUTH_AUDIT_KEY", help="instead of its public key")] = "",
) -> None:
    """Whether the trail is what was written: 0 it is, 1 it is not, 2 it could not be checked.

    Without heads from elsewhere, who may write to the database could have cut the end off, or written all of it anew.
    """
    genuine = _verifier(public_key or [], audit_key)
    if heads and genuine is None:
        raise _cannot("heads are of no use without a key: give --public-key, or set AUTH_AUDIT_KEY")
    check, faults = _run(_verified(database_url, genuine, heads or []))
    _show([f"{fault.seq}: {fault.words}" for fault in faults])
    typer.echo(f"{check.last.seq:,} events; signed heads: {check.heads_met:,}, the newest at {check.newest_head:,}")
    if not check.newest_head:
        typer.echo("no signed head was compared: that the end was cut off, or all written anew, would not show")
    if faults:
        raise typer.Exit(1)


@audit.command()
def rebuild(database_url: DatabaseUrl) -> None:
    """Makes users, tenants and keys again from the trail, and compares: 0 they are what is stored, 1 they are not."""
    found = _run(_rebuilt(database_url))
    _show([f"{one.noun} {one.subject}: {one.words}" for one in found])
    if found:
        raise typer.Exit(1)
    typer.echo("tenants, users and keys are what the trail tells")


def _verifier(public_keys: list[str], audit_key: str) -> HeadVerifier | None:
    try:
        ours = [Ed25519Heads(decode_key(audit_key)).public_key] if audit_key else []
        return HeadVerifier([*public_keys, *ours]) if public_keys or ours else None
    except ValueError as error:
        raise _cannot(f"unfit key: {error}") from None


async def _verified(database_url: str, genuine: HeadVerifier | None, files: list[Path]) -> tuple[ChainCheck, list[Fault]]:
    async with _engine(database_url) as engine:
        rows = PostgresTrail(Replicated(partial(statement, engine, away="the database does not answer"), None, system_clock))
        heads: list[Head] = []
        faults = []
        for head, where in [*((head, "the table of heads") for head in await rows.heads()), *_exported(files)]:
            if head is not None and genuine is not None and genuine.is_genuine(head):
                heads.append(head)
            elif genuine is not None:
                faults.append(Fault(head.link.seq if head else 0, f"not a head signed by that key: {where}"))
        check = ChainCheck(heads)
        async for batch in Trail(rows).batches(AuditFilter(), after=0):
            faults += [fault for row in batch for fault in check.take(row)]
        return check, [*faults, *check.end()]


def _exported(files: list[Path]) -> list[tuple[Head | None, str]]:
    return [(head, f"{path}, line {number}") for path in files for number, head in read_heads(path)]


async def _rebuilt(database_url: str) -> list[Difference]:
    async with _engine(database_url) as engine, snapshot(engine) as both:
        return [one for noun in NOUNS async for one in differences(noun, both.changes(noun), both.states(noun))]


@asynccontextmanager
async def _engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url, service="kalpi-admin", pool_size=1, command_timeout_s=None)
    try:
        yield engine
    finally:
        await engine.dispose()


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except Unavailable as error:
        raise _cannot(error.detail) from None
    except (SQLAlchemyError, OSError) as error:
        raise _cannot(f"the trail cannot be read ({type(error).__name__})") from None


def _cannot(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(_CANNOT)


def _show(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        typer.echo(line)
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN:,} more")
