"""`kalpi up`, `down`, `status`, `logs`, `migrate` and `openapi`."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kalpi_local.database import embedded_urls, migrate_all, migrations
from kalpi_local.errors import LocalError
from kalpi_local.files import tail
from kalpi_local.follow import Follower
from kalpi_local.home import Home
from kalpi_local.net import LOCALHOST
from kalpi_local.screen import Screen
from kalpi_local.secrets import Secrets
from kalpi_local.stack import up as run_stack
from shared.roles import DatabaseUrls

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

HomeOption = Annotated[Path, typer.Option("--home", envvar="KALPI_HOME", help="where the stack keeps its data, secrets and logs")]
_HOME = Path(".kalpi")


@app.command()
def up(
    home: HomeOption = _HOME,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="any free port for each service")] = False,  # noqa: FBT002 - an option
) -> None:
    """Starts Postgres, Valkey, NATS and the five services; Ctrl-C stops them."""
    with _plainly() as screen:
        asyncio.run(_until_told(run_stack(Home(home), dict(os.environ), screen, free_ports=free_ports)))


@app.command()
def down(home: HomeOption = _HOME) -> None:
    """Stops the stack that runs in this folder, and waits until it has."""
    with _plainly() as screen:
        stopped = asyncio.run(_stop(Home(home)))
        screen.say("stopped" if stopped else "not running")


@app.command()
def status(home: HomeOption = _HOME) -> None:
    """What runs: state, pid, port, restarts, uptime. Exit code 1 when nothing does."""
    with _plainly() as screen:
        where = Home(home)
        if not where.running():
            raise LocalError("not running")
        screen.processes(where.processes(), time.time())


@app.command()
def logs(
    service: str,
    home: HomeOption = _HOME,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on as it grows")] = False,  # noqa: FBT002 - an option
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="how many of the last lines")] = 50,
) -> None:
    """The log of one service or server."""
    with _plainly():
        log = Home(home).logs / f"{service}.log"
        if not log.exists():
            known = ", ".join(sorted(path.stem for path in log.parent.glob("*.log") if not path.stem.endswith(".1")))
            raise LocalError(f"no log of {service}; there are: {known or 'none'}")
        follower = Follower(log)
        _write(tail(log, lines))
        with contextlib.suppress(KeyboardInterrupt):
            while follow:
                time.sleep(0.2)
                _write(follower.lines())


@app.command()
def migrate(
    home: HomeOption = _HOME,
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", help="default: that of the running stack")] = "",
    owner_url: Annotated[str, typer.Option(envvar="DATABASE_OWNER_URL", help="default: DATABASE_URL")] = "",
    admin_url: Annotated[str, typer.Option(envvar="DATABASE_ADMIN_URL", help="creates these two roles, if given")] = "",
) -> None:
    """Brings every schema to its newest revision, under an advisory lock."""
    with _plainly() as screen:
        given = DatabaseUrls(database_url, owner_url or database_url, admin_url)
        asyncio.run(migrate_all(lambda schema: given if given.app else _embedded(Home(home), schema), os.environ))
        for entry in migrations():
            screen.say(f"{entry.name}: migrated")


@app.command()
def openapi() -> None:
    """Writes the public OpenAPI document, merged from the services' own, to where the gateway serves it from."""
    from kalpi_local.openapi import document_path, public_document, render  # noqa: PLC0415 - it imports every service

    document_path().write_text(render(public_document()), encoding="utf-8")


def _embedded(home: Home, schema: str) -> DatabaseUrls:
    entry = home.processes().get("postgres")
    if entry is None or not home.running():
        raise LocalError("no database: set DATABASE_URL, or start the stack with `kalpi up`")
    urls = embedded_urls(f"postgresql://{LOCALHOST}:{entry['port']}/kalpi", schema, Secrets(home.secrets))
    return replace(urls, admin="")  # the start of the stack has made them


@contextlib.contextmanager
def _plainly() -> Iterator[Screen]:
    """What cannot be done is one plain message and exit code 1."""
    screen = Screen()
    try:
        yield screen
    except (LocalError, PermissionError) as error:
        screen.refuse(str(error))
        raise typer.Exit(1) from None


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Runs it until SIGINT, SIGTERM or SIGHUP, which cancel it once: stopping is not hurried by a second Ctrl-C."""
    task = asyncio.ensure_future(work)

    def stop() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _stop(home: Home) -> bool:
    if await home.stop_owner(within_s=90):
        return True
    if home.folder.exists():
        with home.owned():
            await home.recover()
    return False


def _write(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)
