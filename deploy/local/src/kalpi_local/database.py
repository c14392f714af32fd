"""What the embedded Postgres is prepared with: for each service that owns tables an owner role, an app role and a schema."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from kalpi_local.errors import LocalError
from kalpi_local.processes import Launch, run
from kalpi_local.secrets import Secrets

__all__ = ["app_url", "create_roles", "migrate_all", "migrations", "owner_url"]

_GROUP = "kalpi.migrations"


def owner_url(database_url: str, schema: str, secrets: Secrets) -> str:
    """For migrations: may change the schema's tables."""
    return _as(database_url, f"{schema}_owner", secrets)


def app_url(database_url: str, schema: str, secrets: Secrets) -> str:
    """For the service: may read and write rows."""
    return _as(database_url, f"{schema}_app", secrets)


async def create_roles(database_url: str, schema: str, secrets: Secrets) -> None:
    """`database_url` is the superuser's. Does nothing that is already done; passwords are set to those of `secrets`."""
    connection = await asyncpg.connect(database_url, ssl=False)
    try:
        async with connection.transaction():
            for role in (f"{schema}_owner", f"{schema}_app"):
                known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
                verb = "ALTER" if known else "CREATE"
                template = f"SELECT format('{verb} ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
                await connection.execute(await connection.fetchval(template, role, secrets.password(role)))
            for template in _GRANTS:
                await connection.execute(
                    await connection.fetchval("SELECT format($1, $2::text, current_database())", template, schema)
                )
    finally:
        await connection.close()


_GRANTS = (
    "GRANT CREATE ON DATABASE %2$I TO %1$s_owner",
    "CREATE SCHEMA IF NOT EXISTS %1$I AUTHORIZATION %1$s_owner",
    "GRANT USAGE ON SCHEMA %1$I TO %1$s_app",
    "ALTER DEFAULT PRIVILEGES FOR ROLE %1$s_owner IN SCHEMA %1$I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %1$s_app",
    "ALTER DEFAULT PRIVILEGES FOR ROLE %1$s_owner IN SCHEMA %1$I GRANT USAGE ON SEQUENCES TO %1$s_app",
)


def migrations() -> list[EntryPoint]:
    """One per service that owns tables, named after its schema: a callable that takes a database URL."""
    return sorted(entry_points(group=_GROUP), key=lambda entry: entry.name)


async def migrate_all(urls: Callable[[str], str], environ: Mapping[str, str]) -> None:
    """Each in a process of its own; `urls` gives the URL for a schema."""
    for entry in migrations():
        env = {**environ, "DATABASE_URL": urls(entry.name)}
        finished = await run(Launch([sys.executable, "-P", "-m", "kalpi_local.database", entry.name], env))
        if finished.code != 0:
            raise LocalError(f"the migration of {entry.name} failed:\n{(finished.errors or finished.output).strip()[-2000:]}")


def _as(database_url: str, role: str, secrets: Secrets) -> str:
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{role}:{secrets.password(role)}@{parts.hostname}:{parts.port}"))


def _main(name: str) -> None:
    for entry in entry_points(group=_GROUP, name=name):
        run_migration: Callable[[str], None] = entry.load()
        run_migration(os.environ["DATABASE_URL"])


if __name__ == "__main__":
    _main(sys.argv[1])
