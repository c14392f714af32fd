"""`kalpi admin tenants …`"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from shared.remote import AsJson, Most, Remote, connect, show, user_id_of

__all__ = ["app"]

_COLUMNS = ("id", "name", "personal", "tier", "quota", "is_active", "allowed_origins")
Tenant = Annotated[UUID, typer.Argument(help="its id")]

app = typer.Typer(no_args_is_help=True, callback=connect, help="Tenants: find, make, their tiers and quotas.")


class QuotaChoice(StrEnum):
    SHARED = "shared"
    SPLIT = "split"


Quota = Annotated[QuotaChoice, typer.Option(help="whether members use what the tier allows together, or each a part of it")]


@app.command("list")
def list_(
    context: typer.Context,
    begins: Annotated[str | None, typer.Option("--name", help="how the name begins")] = None,
    tier: Annotated[str | None, typer.Option(help="of this tier")] = None,
    active: Annotated[bool | None, typer.Option("--active/--disabled", help="these alone")] = None,
    most: Most = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Newest first, personal ones too."""
    remote: Remote = context.obj
    rows = remote.rows("tenants", most, q=begins, tier=tier, is_active=active)
    show(rows, (*_COLUMNS, "members"), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: str,
    owner: Annotated[str, typer.Option(help="id or user name of the first owner, who leaves the tenant they are in")],
    tier: Annotated[str | None, typer.Option(help="of all its members; else each has their own")] = None,
    quota: Quota = QuotaChoice.SPLIT,
) -> None:
    """Makes an organisation for a user who is there."""
    remote: Remote = context.obj
    body = {"name": name, "owner_id": user_id_of(remote, owner), "tier": tier, "quota": quota.value}
    show([remote.ask("POST", "tenants", body)], _COLUMNS, as_json=False)


@app.command()
def tier(
    context: typer.Context,
    tenant: Tenant,
    tier: Annotated[str | None, typer.Argument(help="without one each member has their own")] = None,
) -> None:
    """Gives all members of a tenant a tier, or each their own again."""
    _change(context, tenant, tier=tier)


@app.command()
def quota(context: typer.Context, tenant: Tenant, quota: Annotated[QuotaChoice, typer.Argument()]) -> None:
    """Whether members use what the tenant's tier allows together, or each a part of it."""
    _change(context, tenant, quota=quota.value)


@app.command()
def disable(context: typer.Context, tenant: Tenant) -> None:
    """No member's key or session stands for anybody until the tenant is enabled again."""
    _change(context, tenant, is_active=False)


@app.command()
def enable(context: typer.Context, tenant: Tenant) -> None:
    """Ends `disable`."""
    _change(context, tenant, is_active=True)


def _change(context: typer.Context, tenant: UUID, **changes: object) -> None:
    remote: Remote = context.obj
    show([remote.ask("PATCH", f"tenants/{tenant}", changes)], _COLUMNS, as_json=False)
