"""`kalpi admin keys …`"""

from typing import Annotated
from uuid import UUID

import typer

from shared.remote import AsJson, Most, Remote, connect, show, user_id_of

__all__ = ["app"]

_COLUMNS = ("id", "key_hint", "name", "user_id", "tenant_id", "created_at", "expires_at")

app = typer.Typer(no_args_is_help=True, callback=connect, help="API keys of all users: find and delete.")


@app.command("list")
def list_(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="whose: id or user name")] = None,
    tenant: Annotated[UUID | None, typer.Option(help="of whose members: its id")] = None,
    most: Most = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Newest first; those that are not deleted."""
    remote: Remote = context.obj
    user_id = user_id_of(remote, user) if user is not None else None
    rows = remote.rows("api-keys", most, user_id=user_id, tenant_id=str(tenant) if tenant is not None else None)
    show(rows, _COLUMNS, as_json=as_json)


@app.command()
def revoke(context: typer.Context, key: Annotated[UUID, typer.Argument(help="its id")]) -> None:
    """Deletes a key: within a second it stands for nobody."""
    remote: Remote = context.obj
    remote.ask("DELETE", f"api-keys/{key}")
