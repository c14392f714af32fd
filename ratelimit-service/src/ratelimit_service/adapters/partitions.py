"""Partitions in Postgres: which there are, and making and dropping them by the functions of the schema."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlalchemy import TextClause, text

from ratelimit_service.domain.partitions import Partition, Schedule, expired, wanted
from shared.logging import get_logger
from shared.postgres import Begin

__all__ = ["PostgresPartitions", "schedules"]

_THERE = text(
    """
    SELECT parent.relname AS parent, child.relname AS name
    FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid
    WHERE parent.relnamespace = 'ratelimit'::regnamespace AND parent.relkind = 'p'
    """
)
_MAKE = text("SELECT ratelimit.make_partition(:parent, :first, :until)")
_DROP = text("SELECT ratelimit.drop_partition(:parent, :first)")
_INBOX_DAYS = 9
_UNITS_DAYS = 62
_log = get_logger("partitions")


def schedules(*, log_days: int, minute_days: int, hour_days: int, day_days: int) -> Sequence[Schedule]:
    """How long rows of the log and of each grain are kept."""
    rollups = ("usage", "traffic", "demand")
    return (
        Schedule("request_log", "day", log_days),
        Schedule("usage_inbox", "day", _INBOX_DAYS),
        Schedule("usage_units", "month", _UNITS_DAYS),
        *(Schedule(f"{table}_minute", "day", minute_days) for table in rollups),
        *(Schedule(f"{table}_hour", "day", hour_days) for table in rollups),
        *(Schedule(f"{table}_day", "month", day_days) for table in rollups),
    )


class PostgresPartitions:
    def __init__(self, begin: Begin, kept: Sequence[Schedule]) -> None:
        self._begin = begin
        self._kept = kept

    async def keep(self, today: date) -> None:
        """Makes what will be needed and is not there, and drops what is old, each in a transaction of its own; Unavailable."""
        there = await self._there()
        missing = [one for one in dict.fromkeys(wanted(self._kept, today)) if one.first not in there[one.table]]
        old = [one for schedule in self._kept for one in expired(schedule, there[schedule.table], today)]
        await self._each(_MAKE, missing)
        await self._each(_DROP, old)
        if missing or old:
            _log.info("partitions", made=len(missing), dropped=[one.name for one in old])

    async def _there(self) -> dict[str, set[date]]:
        """First days by table."""
        async with self._begin() as connection:
            rows = (await connection.execute(_THERE)).all()
        there: dict[str, set[date]] = {schedule.table: set() for schedule in self._kept}
        for parent, name in rows:
            if parent in there:
                there[parent].add(datetime.strptime(name.removeprefix(f"{parent}_"), "%Y%m%d").date())  # noqa: DTZ007 - a day
        return there

    async def _each(self, change: TextClause, partitions: Iterable[Partition]) -> None:
        for one in partitions:
            given = {"parent": one.table, "first": one.first}
            async with self._begin() as connection:
                await connection.execute(change, given | {"until": one.until} if change is _MAKE else given)
