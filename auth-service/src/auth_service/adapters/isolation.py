"""Each tenant's rows by themselves, held by Postgres: the one place that says how (docs/adr/0012).

A policy shows a transaction the rows of the tenant that it was begun for, and no row where none was named. What has to look
across tenants is a function here and there, which runs as the owner of the tables and gives no more than its columns.
Migrations write policies and functions with this module, and every transaction begins with `enter`.
"""

from uuid import UUID

from sqlalchemy import Text, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["definer", "enter"]

_SETTING = "kalpi.tenant"


async def enter(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Of this transaction alone: set for the session, it would be there for whoever is given the connection next."""
    await connection.execute(select(func.set_config(literal(_SETTING, Text), literal(str(tenant_id), Text), True)))  # noqa: FBT003 - SQL's


def definer(signature: str, returns: str, body: str, *, volatility: str = "STABLE") -> list[str]:
    """A function that runs with its owner's rights, for roles that are granted it and nobody else.

    `body` is SQL and names every table with its schema, for the path that is searched holds none.
    """
    rights = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
    return [
        f"CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE sql {volatility} {rights} AS $body$ {body} $body$",
        # functions are everybody's unless they are taken away
        f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC",
    ]
