"""Each tenant's rows by themselves, held by Postgres: the one place that says how (docs/adr/0012).

A policy shows a transaction the rows of the tenant that it was begun for, and no row where none was named. What has to look
across tenants is a function here and there, which runs as the owner of the tables and gives no more than its columns.
Migrations write policies and functions with this module, and every transaction begins with `enter`.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Text, bindparam, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.errors import Unavailable

__all__ = ["RoleNotBound", "definer", "enter", "isolated", "released", "require_bound", "seen_by_functions"]

_SETTING = "kalpi.tenant"
# a setting of a transaction that has ended is '' and not NULL to the next one of its session
_TENANT = f"NULLIF(current_setting('{_SETTING}', true), '')::uuid"

_ENTER = select(func.set_config(literal(_SETTING, Text), bindparam("tenant", type_=Text), true()))


class RoleNotBound(Unavailable):
    """Postgres would show this role everybody's rows: nothing is served with it."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the role in DATABASE_URL {why}, so no policy binds it; give auth-service a role that only reads and writes rows "
            "(docs/operations.md, Roles)"
        )


async def require_bound(connection: Any) -> None:
    """Of a new connection (asyncpg's): RoleNotBound where policies do not hold its role to one tenant."""
    role = await connection.fetchrow(
        """
        SELECT r.rolsuper, r.rolbypassrls, pg_has_role(c.relowner, 'USAGE') AS owns, row_security_active(c.oid) AS bound
        FROM pg_roles r, pg_class c WHERE r.rolname = current_user AND c.oid = 'auth.user_account'::regclass
        """
    )
    reasons = {
        "is a superuser": role["rolsuper"],
        "has BYPASSRLS": role["rolbypassrls"],
        # what owns the tables is whom the functions' policy lets see every row
        "owns the tables, or is a member of the role that does": role["owns"],
        "reads tables without row-level security": not role["bound"],
    }
    for why, is_so in reasons.items():
        if is_so:
            raise RoleNotBound(why)


async def enter(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Of this transaction alone: set for the session, it would be there for whoever is given the connection next."""
    await connection.execute(_ENTER, {"tenant": str(tenant_id)})


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


def isolated(table: str, *, column: str = "tenant_id", commands: tuple[str, ...] = ("ALL",)) -> list[str]:
    """From here on the owner of the table changes none of its rows either: a later backfill lifts FORCE for its transaction."""
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        *(
            f"CREATE POLICY tenant_{command.lower()} ON {table} FOR {command} "
            f"{'WITH CHECK' if command == 'INSERT' else 'USING'} ({column} = {_TENANT})"
            for command in commands
        ),
    ]


def seen_by_functions(table: str, *, command: str = "SELECT") -> str:
    """What functions that run with the rights of the tables' owner, who runs this, may do to every row."""
    return f"CREATE POLICY functions_{command.lower()} ON {table} FOR {command} TO CURRENT_USER USING (true)"


def released(table: str, *policies: str) -> list[str]:
    """As it was before `isolated`."""
    return [
        *(f"DROP POLICY {policy} ON {table}" for policy in policies),
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY",
    ]
