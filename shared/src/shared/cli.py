"""The command `kalpi`: the subcommands of whichever Kalpi packages are installed."""

import asyncio
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # of the services that own tables: the other images have no asyncpg
    from shared.roles import DatabaseUrls

__all__ = ["main", "migrate_schema"]


def _root() -> typer.Typer:
    root = typer.Typer(name="kalpi", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    root.callback()(_kalpi)
    root.command()(migrate)
    for entry in sorted(entry_points(group="kalpi.commands"), key=lambda entry: entry.name):
        # the embedded stack's commands (up, down, …) stand at the top; a service's under its name
        root.add_typer(entry.load(), name=None if entry.name == "local" else entry.name)
    return root


def _kalpi() -> None:
    """Kalpi: technical analysis as a service."""
    # typer runs a lone command without its name; with a callback, `kalpi migrate` is that in an image as well


def migrate(
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", help="what the service connects with")],
    owner_url: Annotated[str, typer.Option(envvar="DATABASE_OWNER_URL", help="owns the schema; default: DATABASE_URL")] = "",
    admin_url: Annotated[str, typer.Option(envvar="DATABASE_ADMIN_URL", help="creates these two roles, if given")] = "",
) -> None:
    """Brings every schema to its newest revision, under an advisory lock."""
    from shared.roles import DatabaseUrls  # noqa: PLC0415 - see above

    for entry in sorted(entry_points(group="kalpi.migrations"), key=lambda entry: entry.name):
        migrate_schema(entry, DatabaseUrls(database_url, owner_url or database_url, admin_url))
        sys.stdout.write(f"{entry.name}: migrated\n")


def migrate_schema(entry: EntryPoint, urls: "DatabaseUrls") -> None:
    """With its roles first, where somebody may create them."""
    from shared.roles import create_roles  # noqa: PLC0415 - see above

    if urls.admin:
        asyncio.run(create_roles(urls))
    run: Callable[[str, str], None] = entry.load()
    run(urls.owner, urls.app)


def main() -> None:
    _root()()
