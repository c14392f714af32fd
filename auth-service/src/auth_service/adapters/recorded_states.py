"""What the trail tells of each subject, and what the tables hold of it: streams of one snapshot, for rebuilding."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from auth_service.domain.auditing import State
from auth_service.domain.rebuilding import Change

__all__ = ["Snapshot", "snapshot"]

# in the order of subjects: what a function gives lies at the server meanwhile, and comes in portions
_CHANGES = text("SELECT subject, event, before, after FROM auth.audit_changes(:noun)")
_STATES = text("SELECT subject, state FROM auth.audit_states(:noun)")


class Snapshot:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def changes(self, noun: str) -> AsyncIterator[Change]:
        async with self._connection.stream(_CHANGES, {"noun": noun}) as rows:
            async for subject, event, before, after in rows:
                yield Change(subject, event, before, after)

    async def states(self, noun: str) -> AsyncIterator[tuple[UUID, State]]:
        async with self._connection.stream(_STATES, {"noun": noun}) as rows:
            async for subject, state in rows:
                yield subject, state


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[Snapshot]:
    """Both sides as they were at one moment."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            yield Snapshot(connection)
