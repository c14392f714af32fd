"""The command `kalpi`: the subcommands of whichever Kalpi packages are installed."""

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated

import typer

__all__ = ["main"]


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
    database_url: Annotated[str, typer.Option(envvar="DATABASE_URL", help="connects as the owner of the schemas")],
) -> None:
    """Brings every schema to its newest revision, under an advisory lock."""
    for entry in sorted(entry_points(group="kalpi.migrations"), key=lambda entry: entry.name):
        run: Callable[[str], None] = entry.load()
        run(database_url)
        sys.stdout.write(f"{entry.name}: migrated\n")


def main() -> None:
    _root()()
