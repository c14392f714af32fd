"""Which pieces the tables that grow are kept in: made before they are needed, and dropped whole when they are old."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, NamedTuple

__all__ = ["LATEST", "OLDEST", "Partition", "Schedule", "expired", "wanted"]

OLDEST = timedelta(days=8)
"""How late a batch may come: its stream keeps it for seven days."""
LATEST = timedelta(days=1)
"""How far a gateway's clock may be ahead."""
_AHEAD = timedelta(days=3)


class Partition(NamedTuple):
    """Of `table`, the rows from `first` up to `until`, which is not in it."""

    table: str
    first: date
    until: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.first:%Y%m%d}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Of one table: a partition for each day or month, kept until all of it is `keep_days` old."""

    table: str
    period: Literal["day", "month"]
    keep_days: int

    def around(self, day: date) -> Partition:
        if self.period == "day":
            return Partition(self.table, day, day + timedelta(days=1))
        first = day.replace(day=1)
        return Partition(self.table, first, (first + timedelta(days=31)).replace(day=1))


def wanted(schedules: Iterable[Schedule], today: date) -> Iterator[Partition]:
    """From the oldest row that may still come to three days ahead."""
    for schedule in schedules:
        day = today - OLDEST
        while day <= today + _AHEAD:
            partition = schedule.around(day)
            yield partition
            day = partition.until


def expired(schedule: Schedule, firsts: Iterable[date], today: date) -> Iterator[Partition]:
    """Of those there are, by their first days."""
    for first in sorted(firsts):
        partition = schedule.around(first)
        if partition.until <= today - timedelta(days=max(schedule.keep_days, OLDEST.days)):
            yield partition
