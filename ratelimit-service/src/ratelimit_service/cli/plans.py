"""`kalpi plans …`"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.remote import AsJson, Most, Remote, connect, show

__all__ = ["app"]

_COLUMNS = ("version", "created_at", "source", "restores", "actor", "reason")
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a plan file")]
Reason = Annotated[str, typer.Option(help="why, for the history")]
Replaces = Annotated[
    int | None, typer.Option(help="nothing is published unless this version is the newest; default: whichever is")
]

app = typer.Typer(no_args_is_help=True, callback=connect, help="What each tier allows: see, publish, go back.")


@app.command("show")
def show_(
    context: typer.Context,
    version: Annotated[int | None, typer.Option(help="an older one, as a text")] = None,
    *,
    text: Annotated[bool, typer.Option("--text", help="the plan file itself")] = False,
) -> None:
    """What is in force."""
    remote: Remote = context.obj
    if version is not None:
        sys.stdout.write(remote.ask("GET", f"plans/history/{version}")["text"])
        return
    document = remote.ask("GET", "plans")
    newest = document["newest"]
    if text and newest is not None:
        sys.stdout.write(newest["text"])
        return
    if newest is not None:
        on_its_way = "" if document["in_force"] else ", not in force yet"
        sys.stdout.write(f"version {newest['version']} ({newest['source']}, {newest['created_at']}){on_its_way}\n")
    sys.stdout.write(f"{json.dumps(document['rules'], indent=1, ensure_ascii=False)}\n")


@app.command()
def validate(context: typer.Context, file: File) -> None:
    """Whether a file is fit, and what it would change of what is in force."""
    remote: Remote = context.obj
    _differences(remote.ask("POST", "plans/validate", {"text": _text(file)}))


@app.command()
def publish(context: typer.Context, file: File, reason: Reason = "", replaces: Replaces = None) -> None:
    """Puts a file in force, on every gateway within a second."""
    remote: Remote = context.obj
    body = {"text": _text(file), "replaces": _newest(remote, replaces), "reason": reason}
    _published(remote.ask("PUT", "plans", body))


@app.command()
def history(context: typer.Context, most: Most = 50, *, as_json: AsJson = False) -> None:
    """Versions, newest first: who published them and why."""
    remote: Remote = context.obj
    show(remote.rows("plans/history", most), _COLUMNS, as_json=as_json)


@app.command()
def rollback(
    context: typer.Context,
    version: Annotated[int, typer.Argument(help="the one to have again")],
    reason: Reason = "",
    replaces: Replaces = None,
) -> None:
    """Puts an older version in force again, as a new one."""
    remote: Remote = context.obj
    body = {"version": version, "replaces": _newest(remote, replaces), "reason": reason}
    _published(remote.ask("POST", "plans/rollback", body))


def _newest(remote: Remote, replaces: int | None) -> int:
    if replaces is not None:
        return replaces
    newest = remote.ask("GET", "plans")["newest"]
    return int(newest["version"]) if newest is not None else 0


def _published(version: Mapping[str, Any]) -> None:
    sys.stdout.write(f"version {version['version']}\n")
    _differences(version)


def _differences(one: Mapping[str, Any]) -> None:
    before, after = one["before"] or {}, one["after"] or {}
    if not (before or after):
        sys.stdout.write("no rule is another\n")
    for place in dict.fromkeys((*before, *after)):
        sys.stdout.write(f"{place}: {_shown(before, place)} -> {_shown(after, place)}\n")


def _shown(rules: Mapping[str, Any], place: str) -> str:
    return json.dumps(rules[place]) if place in rules else "absent"


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{file} cannot be read ({type(error).__name__})", err=True)
        raise typer.Exit(1) from None
