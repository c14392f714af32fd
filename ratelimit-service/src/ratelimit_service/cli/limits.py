"""`kalpi limits …`"""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from shared.remote import AsJson, Most, Remote, connect, show, user_id_of, user_of

__all__ = ["app"]

_CHANGES = ("seq", "at", "noun", "event", "subject", "actor", "reason")
_OVERRIDES = ("tenant_id", "state", "starts_at", "ends_at", "limits", "entitlements", "reason")
_POLICIES = ("name", "quota", "used", "remaining", "window_s", "reset_s")
_FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]

Reason = Annotated[str, typer.Option(help="why, for the trail of changes")]

app = typer.Typer(no_args_is_help=True, callback=connect, help="What tenants have instead of their tier's; what was used.")


class Whose(StrEnum):
    USER = "user"
    TENANT = "tenant"
    ADDRESS = "address"


class State(StrEnum):
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    ENDED = "ended"


@app.command()
def override(
    context: typer.Context,
    tenant: Annotated[UUID, typer.Argument(help="its id")],
    reason: Reason,
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="limits and entitlements, JSON")] = None,
    starts: Annotated[datetime | None, typer.Option("--from", formats=_FORMATS, help="not before")] = None,
    ends: Annotated[datetime | None, typer.Option("--until", formats=_FORMATS, help="no longer from then on")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="what its tier says again")] = False,
) -> None:
    """Gives a tenant other limits or entitlements than its tier's, in place of those it was given before."""
    remote: Remote = context.obj
    if remove == (file is not None):
        raise _refused("give either a file or --remove")
    if file is None:
        remote.ask("DELETE", f"limits/tenants/{tenant}", reason=reason)
        return
    dates = {"starts_at": starts, "ends_at": ends}
    body = {**_document(file), **{name: at.isoformat() for name, at in dates.items() if at is not None}, "reason": reason}
    _show_overrides([remote.ask("PUT", f"limits/tenants/{tenant}", body)], as_json=False)


@app.command("overrides")
def overrides(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="these alone")] = None,
    most: Most = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Tenants that have other limits than their tier's."""
    remote: Remote = context.obj
    rows = remote.rows("limits/tenants", most, state=state.value if state is not None else None)
    _show_overrides(list(rows), as_json=as_json)


@app.command("show")
def show_(context: typer.Context, user: Annotated[str, typer.Argument(help="user name")]) -> None:
    """What a user has used today, under which limits, and what their tenant has instead of its tier's."""
    remote: Remote = context.obj
    who = _terms(remote, user)
    usage = remote.ask("GET", "limits/usage", **who)
    sys.stdout.write(f"{usage['tier']}, spent by the {usage['shared_by']}; unlimited: {', '.join(usage['unlimited']) or '-'}\n")
    show(usage["policies"], _POLICIES, as_json=False)
    given = remote.find(f"limits/tenants/{who['tenant_id']}")
    if given is not None:
        _show_overrides([given], as_json=False)


@app.command()
def reset(
    context: typer.Context,
    whose: Whose,
    name: Annotated[str, typer.Argument(help="of a user id or user name, of a tenant its id, or an IP address")],
    reason: Reason,
) -> None:
    """Forgets what was used of the day and of bursts."""
    remote: Remote = context.obj
    named = user_id_of(remote, name) if whose is Whose.USER else name
    kind = "addresses" if whose is Whose.ADDRESS else f"{whose.value}s"
    before = remote.ask("POST", f"limits/{kind}/{named}/reset", {"reason": reason})["before"]
    for counter, used in before.items():
        sys.stdout.write(f"{counter}: {used:,} -> 0\n")


@app.command()
def changes(
    context: typer.Context,
    noun: Annotated[str | None, typer.Option(help="plan, override or counter")] = None,
    subject: Annotated[
        str | None, typer.Option(help="a version, a tenant's id, a counter's `user:`, `tenant:` or `ip:…`")
    ] = None,
    most: Most = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """What was changed of plans, overrides and counters, by whom and why: newest first."""
    remote: Remote = context.obj
    show(remote.rows("limits/changes", most, noun=noun, subject=subject), _CHANGES, as_json=as_json)


def _terms(remote: Remote, name: str) -> dict[str, Any]:
    """Whose counters, and how much of what tier: users and tenants are auth-service's."""
    user = user_of(remote, name)
    tenant = remote.ask("GET", f"tenants/{user['tenant_id']}")
    who = {"user_id": user["id"], "tenant_id": tenant["id"], "tier": tenant["tier"] or user["tier"]}
    if tenant["tier"] is None:
        return who
    listed = next(row for row in remote.rows("tenants", 10_000, q=tenant["name"]) if row["id"] == tenant["id"])
    return {**who, "quota": tenant["quota"], "members": max(1, listed["members"])}


def _show_overrides(rows: list[Mapping[str, Any]], *, as_json: bool) -> None:
    if not as_json:
        rows = [{**row, **{name: json.dumps(row[name]) for name in ("limits", "entitlements")}} for row in rows]
    show(rows, _OVERRIDES, as_json=as_json)


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(f"{file} cannot be read ({type(error).__name__})") from None
    if not isinstance(document, dict):
        raise _refused(f"{file} is not an object with limits and entitlements")
    return document


def _refused(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(1)
