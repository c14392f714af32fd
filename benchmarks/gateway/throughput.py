"""Requests a second of all contenders in turn, round after round, and what each took of the processor."""

import resource
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.clients import Failed, Measured, measure
from benchmarks.gateway.contenders import Contender
from benchmarks.gateway.processes import cpu_seconds

__all__ = ["Row", "ratio", "rows_of"]

CONNECTIONS = 32


@dataclass
class Row:
    """One contender's rounds. Of the processor, for one request: `cpu_us` is the time of its own processes, `behind_us` of all
    that work for it, `client_us` of who asks.
    """

    name: str
    missing: str = ""
    rounds: list[Measured] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    behind_us: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)

    def median(self, figure: Callable[[Measured], float]) -> float:
        return statistics.median(map(figure, self.rounds))

    @property
    def per_second(self) -> float:
        return self.median(lambda one: one.per_second)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_us)

    @property
    def behind(self) -> float:
        return statistics.median(self.behind_us)

    @property
    def client(self) -> float:
        return statistics.median(self.client_us)


def ratio(one: Row, other: Row) -> float | None:
    """The median of the rounds' ratios, each of two figures taken within seconds; None when one of the two is missing."""
    if not one.rounds or len(one.rounds) != len(other.rounds):
        return None
    pairs = zip(one.rounds, other.rounds, strict=True)
    return statistics.median(ours.per_second / theirs.per_second for ours, theirs in pairs)


def rows_of(everyone: Sequence[Contender], rounds: int, seconds: int, folder: Path, behind: Sequence[int]) -> dict[str, Row]:
    """`behind` are the processes that, with those below them, work for any of them."""
    rows = {one.name: Row(one.name, one.missing) for one in everyone}
    for number in range(rounds):
        # nobody always comes after the same one
        for one in [*everyone[number % len(everyone) :], *everyone[: number % len(everyone)]]:
            if not rows[one.name].missing:
                _take(rows[one.name], one, seconds, folder, behind)
    return rows


def _take(row: Row, one: Contender, seconds: int, folder: Path, behind: Sequence[int]) -> None:
    def spent() -> tuple[float, float, float]:
        others = sum(cpu_seconds(pid) for pid in behind if pid != one.pid)
        client = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cpu_seconds(one.pid), others, client.ru_utime + client.ru_stime

    try:
        measure(one.url, one.asked, connections=CONNECTIONS, seconds=one.warm_s, folder=folder)
        before = spent()
        measured = measure(one.url, one.asked, connections=CONNECTIONS, seconds=seconds, folder=folder)
        took = [(after - first) / measured.requests * 1e6 for first, after in zip(before, spent(), strict=True)]
        for figures, figure in zip((row.cpu_us, row.behind_us, row.client_us), took, strict=True):
            figures.append(figure)
        row.rounds.append(measured)
    except Failed as why:
        row.missing = f"failed: {why}"
        row.rounds.clear()
