"""What a database is prepared with: for each service that owns tables an owner role, an app role and a schema."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit, urlunsplit

from kalpi_local.errors import LocalError
from kalpi_local.processes import Launch, run
from kalpi_local.secrets import Secrets
from shared.cli import migrate_schema
from shared.roles import DatabaseUrls

__all__ = ["embedded_urls", "migrate_all", "migrations"]

_GROUP = "kalpi.migrations"


def embedded_urls(database_url: str, schema: str, secrets: Secrets) -> DatabaseUrls:
    """`database_url` is the superuser's, of our own Postgres."""
    app, owner = (_as(database_url, f"{schema}_{role}", secrets) for role in ("app", "owner"))
    return DatabaseUrls(app, owner, database_url)


def migrations() -> list[EntryPoint]:
    """One per service that owns tables, named after its schema: a callable that takes a database URL."""
    return sorted(entry_points(group=_GROUP), key=lambda entry: entry.name)


async def migrate_all(urls: Callable[[str], DatabaseUrls], environ: Mapping[str, str]) -> None:
    """Each in a process of its own; `urls` gives those for a schema."""
    for entry in migrations():
        env = {**environ, **urls(entry.name).environ}
        finished = await run(Launch([sys.executable, "-P", "-m", "kalpi_local.database", entry.name], env))
        if finished.code != 0:
            raise LocalError(f"the migration of {entry.name} failed:\n{(finished.errors or finished.output).strip()[-2000:]}")


def _as(database_url: str, role: str, secrets: Secrets) -> str:
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{role}:{secrets.password(role)}@{parts.hostname}:{parts.port}"))


def _main(name: str) -> None:
    for entry in entry_points(group=_GROUP, name=name):
        migrate_schema(entry, DatabaseUrls.of(os.environ))


if __name__ == "__main__":
    _main(sys.argv[1])
