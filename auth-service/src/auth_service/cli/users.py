"""`kalpi admin users …`"""

from typing import Annotated

import typer

from shared.remote import AsJson, Most, Remote, connect, show, user_id_of

__all__ = ["app"]

_COLUMNS = ("id", "username", "email", "tier", "is_active", "roles", "tenant_id")
User = Annotated[str, typer.Argument(help="id or user name")]

app = typer.Typer(no_args_is_help=True, callback=connect, help="Users: find, disable, let in again, end sessions.")


@app.command("list")
def list_(
    context: typer.Context,
    begins: Annotated[str | None, typer.Option("--name", help="how the user name or the e-mail address begins")] = None,
    tier: Annotated[str | None, typer.Option(help="of this tier")] = None,
    active: Annotated[bool | None, typer.Option("--active/--disabled", help="these alone")] = None,
    most: Most = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Newest first."""
    remote: Remote = context.obj
    show(remote.rows("users", most, q=begins, tier=tier, is_active=active), _COLUMNS, as_json=as_json)


@app.command()
def tier(context: typer.Context, user: User, tier: str) -> None:
    """Gives a user another tier, which counts where their tenant has none."""
    _change(context, user, tier=tier)


@app.command()
def disable(context: typer.Context, user: User) -> None:
    """Keys and sessions stand for nobody until the user is enabled again."""
    _change(context, user, is_active=False)


@app.command()
def enable(context: typer.Context, user: User) -> None:
    """Ends `disable`."""
    _change(context, user, is_active=True)


@app.command()
def unlock(context: typer.Context, user: User) -> None:
    """Who has to wait after failed attempts to log in need not any longer."""
    remote: Remote = context.obj
    remote.ask("POST", f"users/{user_id_of(remote, user)}/unlock")


@app.command("log-out")
def log_out(context: typer.Context, user: User) -> None:
    """Ends every session of a user; keys stay."""
    remote: Remote = context.obj
    remote.ask("DELETE", f"users/{user_id_of(remote, user)}/sessions")


def _change(context: typer.Context, user: str, **changes: object) -> None:
    remote: Remote = context.obj
    show([remote.ask("PATCH", f"users/{user_id_of(remote, user)}", changes)], _COLUMNS, as_json=False)
