"""Migrations of a service's schema: a step of their own, run as the schema's owner, never in a lifespan.

Of services that own tables: they depend on `kalpi-shared[postgres]`. The revisions stand in their package (docs/adr/0006).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from shared.postgres import open_engine
from shared.roles import role_of

__all__ = ["Migrations"]

_RIGHTS = (
    "GRANT USAGE ON SCHEMA {schema} TO {app}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {app}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {app}",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {app}",
    "REVOKE INSERT, UPDATE, DELETE ON {schema}.alembic_version FROM {app}",
)


@dataclass(frozen=True)
class Migrations:
    """`lock` is held by the one migration of the schema that is under way (an advisory lock of its database)."""

    service: str
    schema: str
    lock: int
    folder: Path

    def upgrade(self, owner_url: str, app_url: str = "") -> None:
        """Brings the schema to its newest revision and does nothing when it is there; a second one waits for the first.

        The role of `app_url`, where it is another one, may then read and write what is in it. SQLAlchemyError or OSError when the
        database does not answer or does not allow it.
        """
        app = role_of(app_url) if app_url else ""

        def change(connection: Connection, config: Config) -> None:
            command.upgrade(config, "head")
            if app and app != role_of(owner_url):
                self._grant(connection, app)

        asyncio.run(self._run(owner_url, change))

    def downgrade(self, database_url: str, revision: str) -> None:
        """Takes the schema back to a revision; `base` is before the first, without any table. Rows are lost."""
        asyncio.run(self._run(database_url, lambda _connection, config: command.downgrade(config, revision)))

    async def _run(self, database_url: str, change: Callable[[Connection, Config], None]) -> None:
        engine = open_engine(database_url, service=self.service, pool_size=1, command_timeout_s=None)
        try:
            async with engine.connect() as connection:
                # of the session, not of a transaction: each revision has one of its own
                await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": self.lock})
                await connection.commit()
                await connection.run_sync(self._change, change)
                await connection.commit()
        finally:
            await engine.dispose()

    def _change(self, connection: Connection, change: Callable[[Connection, Config], None]) -> None:
        # CREATE SCHEMA IF NOT EXISTS wants the right to create schemas even where there is nothing to create, and an owner of
        # this one need not have it
        if connection.execute(text("SELECT to_regnamespace(:schema)"), {"schema": self.schema}).scalar_one() is None:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {self.schema}"))
        connection.commit()
        config = Config()
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        change(connection, config)

    def _grant(self, connection: Connection, app: str) -> None:
        """Every time and for everything, so that an app role may also be given later, or another one."""
        quoted = connection.dialect.identifier_preparer.quote_identifier(app)
        for right in _RIGHTS:
            connection.execute(text(right.format(schema=self.schema, app=quoted)))
