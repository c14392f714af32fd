"""The two database roles of a service that owns tables: the owner migrates, the app role reads and writes rows.

They are named, with their passwords, by two URLs: `DATABASE_OWNER_URL` and `DATABASE_URL`. Of services that own tables: they
depend on `kalpi-shared[postgres]`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import asyncpg

__all__ = ["DatabaseUrls", "create_roles", "role_of"]

_LOCK = int.from_bytes(b"dbroles")
_NO_NAME = "the database's URL names no role: postgresql://role:password@host/database"


@dataclass(frozen=True)
class DatabaseUrls:
    """`admin` may create the other two, and is empty where they are there already."""

    app: str
    owner: str
    admin: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Of `DATABASE_URL`, `DATABASE_OWNER_URL` and `DATABASE_ADMIN_URL`; without the second, one role is both."""
        app = environ["DATABASE_URL"]
        return cls(app, environ.get("DATABASE_OWNER_URL") or app, environ.get("DATABASE_ADMIN_URL") or "")

    @property
    def environ(self) -> dict[str, str]:
        return {"DATABASE_URL": self.app, "DATABASE_OWNER_URL": self.owner, "DATABASE_ADMIN_URL": self.admin}


def role_of(database_url: str) -> str:
    """ValueError when it names none."""
    return _credentials(urlsplit(database_url))[0]


async def create_roles(urls: DatabaseUrls) -> None:
    """Both, with the passwords of their URLs, and the owner's right to make a schema; what is there stays and is brought to that.

    `admin` must be allowed to: a superuser, or who has CREATEROLE and owns the database.
    """
    connection = await asyncpg.connect(urls.admin)
    try:
        async with connection.transaction():
            # one at a time: two that write the same row of a catalogue at once are an error
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            for role, password in sorted({_credentials(urlsplit(url)) for url in (urls.owner, urls.app)}):
                known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
                verb = "ALTER" if known else "CREATE"
                template = f"SELECT format('{verb} ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
                await connection.execute(await connection.fetchval(template, role, password))
            template = "SELECT format('GRANT CREATE ON DATABASE %I TO %I', current_database(), $1::text)"
            await connection.execute(await connection.fetchval(template, role_of(urls.owner)))
    finally:
        await connection.close()


def _credentials(parts: SplitResult) -> tuple[str, str]:
    given = parse_qs(parts.query)
    role = unquote(parts.username or "") or "".join(given.get("user", ()))
    if not role:
        raise ValueError(_NO_NAME)
    return role, unquote(parts.password or "") or "".join(given.get("password", ()))
