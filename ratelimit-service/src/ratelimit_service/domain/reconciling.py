"""The day's units as Postgres has them beside the counters that gateways spend from.

They are told over different ways: a counter knows of a request at once, Postgres some seconds later, and never of one whose
event was lost. A counter that says less than Postgres has lost what it knew, or was reset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Counted", "Difference", "Report", "reconcile"]


class Counted(NamedTuple):
    """What Postgres has of a subject; `limited` says whether its tier has a day's quota, so that there should be a counter."""

    units: int
    limited: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """`counter` is None where there is none of the day."""

    subject: str
    units: int
    counter: int | None
    leased: int

    @property
    def by(self) -> int:
        return (self.counter or 0) - self.units

    @property
    def kind(self) -> Literal["over", "under"]:
        """Over: the counter has more."""
        return "over" if self.by > 0 else "under"


@dataclass(frozen=True, slots=True)
class Report:
    """`equal` subjects agree, or differ by what is leased and not spent yet; `unlimited` ones have no counter and need none."""

    differences: tuple[Difference, ...]
    equal: int
    unlimited: int

    @property
    def over(self) -> int:
        return sum(one.by for one in self.differences if one.kind == "over")

    @property
    def under(self) -> int:
        return -sum(one.by for one in self.differences if one.kind == "under")


def reconcile(counted: Mapping[str, Counted], counters: Mapping[str, int], leased: Mapping[str, int]) -> Report:
    """By subject. A lease is paid for before it is spent, so a counter may have up to so many units more."""
    differences, equal, unlimited = [], 0, 0
    for subject in sorted(counted.keys() | counters.keys()):
        units, limited = counted.get(subject, Counted(0, limited=True))
        counter, lease = counters.get(subject), leased.get(subject, 0)
        if counter is None and not limited:
            unlimited += 1
        elif units <= (counter or 0) <= units + lease:
            equal += 1
        else:
            differences.append(Difference(subject, units, counter, lease))
    return Report(tuple(sorted(differences, key=lambda one: -abs(one.by))), equal, unlimited)
