"""Migrations of the schema `auth`: a step of their own, run as the schema's owner, never in a lifespan."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from auth_service.adapters.engine import open_engine
from auth_service.adapters.tables import SCHEMA

__all__ = ["downgrade", "migrate"]

_LOCK = int.from_bytes(b"authmigr")
"""Held by the one migration that is under way (an advisory lock of this database)."""


def migrate(database_url: str) -> None:
    """Brings the schema to its newest revision and does nothing when it is there; a second one waits for the first.

    SQLAlchemyError or OSError when the database does not answer or does not allow it.
    """
    asyncio.run(_run(database_url, lambda config: command.upgrade(config, "head")))


def downgrade(database_url: str, revision: str) -> None:
    """Takes the schema back to a revision; `base` is before the first, without any table. Rows are lost."""
    asyncio.run(_run(database_url, lambda config: command.downgrade(config, revision)))


async def _run(database_url: str, change: Callable[[Config], None]) -> None:
    engine = open_engine(database_url, pool_size=1, command_timeout_s=None)
    try:
        async with engine.connect() as connection:
            # of the session, not of a transaction: each revision has one of its own
            await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            await connection.commit()
            await connection.run_sync(_change, change)
            await connection.commit()
    finally:
        await engine.dispose()


def _change(connection: Connection, change: Callable[[Config], None]) -> None:
    # CREATE SCHEMA IF NOT EXISTS wants the right to create schemas even where there is nothing to create, and an owner of this
    # one need not have it
    if connection.execute(text("SELECT to_regnamespace(:schema)"), {"schema": SCHEMA}).scalar_one() is None:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    change(config)
