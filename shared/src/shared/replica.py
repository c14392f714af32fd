"""Reads that tolerate lag, from a replica while it answers.

Of services that own tables: they depend on `kalpi-shared[postgres]`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Executable, RowMapping

from shared.clock import Clock
from shared.errors import Unavailable
from shared.postgres import Begin

__all__ = ["Replicated"]

REST = timedelta(seconds=10)
"""How long a replica that did not answer is not asked, and then by one read, so that not every read waits for it first."""


class Replicated:
    """Without a replica, everything is read from the primary."""

    def __init__(self, primary: Begin, replica: Begin | None, clock: Clock) -> None:
        self._primary = primary
        self._replica = replica
        self._clock = clock
        self._rests_until: datetime | None = None

    async def fetch(self, statement: Executable, given: Mapping[str, Any] = MappingProxyType({})) -> Sequence[RowMapping]:
        """Whole: a replica that fails half way has then given nothing. Unavailable when the primary does not answer either."""
        if self._replica is not None and not self._rests():
            if self._rests_until is not None:
                self._rest()  # this read finds out whether it is back, and no other waits for that
            try:
                rows = await _fetch(self._replica, statement, given)
            except Unavailable:
                self._rest()
            else:
                self._rests_until = None
                return rows
        return await _fetch(self._primary, statement, given)

    def _rest(self) -> None:
        self._rests_until = self._clock() + REST

    def _rests(self) -> bool:
        return self._rests_until is not None and self._clock() < self._rests_until


async def _fetch(begin: Begin, statement: Executable, given: Mapping[str, Any]) -> Sequence[RowMapping]:
    async with begin() as connection:
        rows: Sequence[RowMapping] = (await connection.execute(statement, given)).mappings().all()
    return rows
