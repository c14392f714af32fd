"""The units of a day's quotas as Postgres has them, by subject."""

from datetime import date

from sqlalchemy import text

from shared.postgres import Begin

__all__ = ["PostgresUnits"]

_UNITS = text("SELECT subject, units, tier FROM ratelimit.usage_units WHERE day = :day")
_LOST = text("SELECT coalesce(sum(lost_events), 0), coalesce(sum(lost_units), 0) FROM ratelimit.usage_inbox WHERE day = :day")


class PostgresUnits:
    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def of(self, day: date) -> dict[str, tuple[int, str]]:
        """Units and tier; Unavailable."""
        async with self._begin() as connection:
            rows = (await connection.execute(_UNITS, {"day": day})).all()
        return {subject: (int(units), tier) for subject, units, tier in rows}

    async def lost(self, day: date) -> tuple[int, int]:
        """Events, and their units, that gateways have dropped; Unavailable."""
        async with self._begin() as connection:
            events, units = (await connection.execute(_LOST, {"day": day})).one()
        return int(events), int(units)
