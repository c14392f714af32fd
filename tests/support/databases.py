"""Databases of a test's own, on the server that all tests share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.ids import new_id


@asynccontextmanager
async def new_database(admin_url: str, *, like: str = "template1") -> AsyncIterator[str]:
    """The URL of one that is as `like` is, to which nobody is connected; afterwards it is gone."""
    name = f"test_{new_id().hex}"
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        yield f"{admin_url.rpartition('/')[0]}/{name}"
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
